"""`factory schema`: the JSON Schema of factory.yaml."""

import json

from factory_contract.model import Contract
from factory_contract.output import Output


def run(out: Output) -> int:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Contract.model_json_schema()}
    out.result(schema=schema)
    out.line(json.dumps(schema, indent=2))
    return 0
