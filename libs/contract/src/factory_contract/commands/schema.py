"""`factory schema`: the JSON Schema of factory.yaml."""

import argparse
import json

from factory_contract import answers, schemas
from factory_contract.output import Output


def run(args: argparse.Namespace, out: Output) -> int:
    schema = schemas.contract()
    out.result(**answers.Schema(schema=schema))
    out.line(json.dumps(schema, indent=2))
    return 0
