import * as restate from "@restatedev/restate-sdk";
import { need } from "@shaped/common";
import { checker } from "./checker.ts";

await restate.serve({ services: [checker], port: Number(need("TEST_SERVICE_PORT")) });
