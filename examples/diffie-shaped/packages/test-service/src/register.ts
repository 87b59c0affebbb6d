// Tells Restate where the test service is, and ends.
import { need } from "@shaped/common";

const uri = need("TEST_SERVICE_INTERNAL_URL");
const answer = await fetch(`${need("RESTATE_ADMIN_INTERNAL_URL")}/deployments`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ uri, force: true }), // the code behind one address changes with every start
});
if (!answer.ok) throw new Error(`Restate refused ${uri}: ${answer.status} ${await answer.text()}`);
const { services } = (await answer.json()) as { services: { name: string }[] };
console.log(`${uri} is registered: ${services.map((s) => s.name).join(", ")}`);
