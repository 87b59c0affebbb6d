// Which page stands at which address, and the frame around all of them.

import { call } from "./api.js";
import { h } from "./dom.js";
import { newTicket, signIn, ticketList, ticketPage } from "./pages.js";

const ROUTES = [
  [/^\/$/, ticketList],
  [/^\/tickets\/new$/, newTicket],
  [/^\/tickets\/(\d+)$/, ticketPage],
];

let user = null;

export function go(path) {
  history.pushState(null, "", path);
  return show();
}

export async function show() {
  const address = location.pathname;
  const page = document.getElementById("page");
  const here = () => location.pathname === address;
  try {
    const [pattern, view] = ROUTES.find(([path]) => path.test(address)) ?? [/^/, missing];
    const content = user ? await view({ go, here }, ...address.match(pattern).slice(1)) : signIn(signedIn);
    if (!here()) return; // somebody has gone on while this was loading
    page.replaceChildren(...[content].flat());
  } catch (error) {
    console.error(error);
    page.replaceChildren(h("h1", {}, "This page cannot be shown"), h("p", { role: "alert" }, error.message));
  }
  document.title = `${page.querySelector("h1").textContent} · ${window.DESK.name}`;
  document.getElementById("top").replaceChildren(...frame());
}

function missing() {
  return h("h1", {}, "There is no such page");
}

function frame() {
  const home = h("a", { href: "/", class: "home" }, h("img", { src: "/icon.svg", alt: "" }), window.DESK.name);
  if (!user) return [home];
  return [
    home,
    h("nav", { "aria-label": "Main" }, place("/", "Tickets"), place("/tickets/new", "New ticket")),
    h("span", { class: "user" }, user.name),
    h("button", { type: "button", class: "quiet", click: signOut }, "Sign out"),
  ];
}

function place(path, name) {
  return h("a", { href: path, "aria-current": path === location.pathname && "page" }, name);
}

async function signedIn(values) {
  user = (await call("POST", "/session", values)).user;
  await show();
}

async function signOut() {
  await call("DELETE", "/session");
  user = null;
  await go("/");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
window.addEventListener("popstate", show);

user = (await call("GET", "/session")).user;
await show();
