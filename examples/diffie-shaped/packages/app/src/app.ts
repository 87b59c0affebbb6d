type Project = { name: string; address: string; status: string; detail: string };

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;
const config = (await (await fetch("/config.json")).json()) as Record<"name" | "api" | "stream" | "website", string>;
let stream: EventSource | undefined;

async function call<T>(path: string, method = "GET", body?: unknown): Promise<T> {
  const headers = body ? { "content-type": "application/json" } : undefined;
  const answer = await fetch(config.api + path, { method, headers, body: JSON.stringify(body), credentials: "include" });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

function row(project: Project): HTMLLIElement {
  const item = document.createElement("li");
  const name = Object.assign(document.createElement("b"), { textContent: project.name });
  const address = Object.assign(document.createElement("small"), { textContent: project.address });
  const text = project.detail ? `${project.status}: ${project.detail}` : project.status;
  item.append(name, address, Object.assign(document.createElement("span"), { textContent: text, className: project.status }));
  return item;
}

async function showProjects(): Promise<void> {
  find("ul").replaceChildren(...(await call<Project[]>("/projects")).map(row));
}

async function show(): Promise<void> {
  const { email } = await call<{ email: string | null }>("/me");
  find("#who").textContent = email;
  find("#sign-in").hidden = email !== null;
  find("#projects").hidden = find("#sign-out").hidden = email === null;
  stream?.close();
  if (email === null) return;
  stream = new EventSource(config.stream, { withCredentials: true });
  stream.onopen = stream.onmessage = () => void showProjects(); // after an outage, too
}

function onSubmit(selector: string, act: (fields: Record<string, FormDataEntryValue>) => Promise<void>): void {
  find<HTMLFormElement>(selector).addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    find("[role=alert]").textContent = "";
    act(Object.fromEntries(new FormData(form))).then(
      () => form.reset(),
      (e: Error) => (find("[role=alert]").textContent = e.message),
    );
  });
}

onSubmit("#sign-in", async (fields) => {
  await call("/session", "POST", fields);
  await show();
});
onSubmit("#create", async (fields) => {
  await call("/projects", "POST", fields);
  await showProjects();
});
find("#sign-out").onclick = () => call("/session", "DELETE").then(show);

find("#name").textContent = document.title = config.name;
find<HTMLInputElement>("[name=address]").defaultValue = config.website;
await show();
