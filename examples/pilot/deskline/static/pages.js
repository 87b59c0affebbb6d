// The pages: each a function that returns what stands in the middle of the window.

import { call } from "./api.js";
import { day, field, form, h } from "./dom.js";

export function signIn(signedIn) {
  const fields = [
    field("Email", h("input", { name: "email", type: "email", required: true, autocomplete: "username" })),
    field("Password", h("input", { name: "password", type: "password", required: true, autocomplete: "current-password" })),
  ];
  return h("section", { class: "card narrow" }, h("h1", {}, "Sign in"), form(signedIn, fields, "Sign in"));
}

export async function ticketList() {
  const { tickets } = await call("GET", "/tickets");
  const open = tickets.filter((ticket) => !ticket.closed).length;
  return [
    h("div", { class: "title" }, h("h1", {}, "Tickets"), h("span", { class: "count" }, `${open} open`)),
    h(
      "table",
      { class: "card", "aria-label": "Tickets" },
      h("thead", {}, h("tr", {}, ["Subject", "From", "Status", "Opened"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, tickets.map(ticketRow)),
    ),
  ];
}

function ticketRow(ticket) {
  return h(
    "tr",
    { class: ticket.closed && "closed" },
    h("td", {}, h("a", { href: `/tickets/${ticket.id}` }, ticket.subject)),
    h("td", {}, ticket.author),
    h("td", {}, status(ticket)),
    h("td", {}, h("time", { datetime: ticket.created_at }, day(ticket.created_at))),
  );
}

function status(ticket) {
  return h("span", { class: `badge ${ticket.closed ? "done" : "open"}` }, ticket.closed ? "Closed" : "Open");
}

export function newTicket({ go }) {
  async function create(values) {
    const ticket = await call("POST", "/tickets", values);
    await go(`/tickets/${ticket.id}`);
  }
  const fields = [
    field("Subject", h("input", { name: "subject", required: true, maxlength: 120 })),
    field("Description (optional)", h("textarea", { name: "description", rows: 4 })),
  ];
  return [h("h1", {}, "New ticket"), h("section", { class: "card" }, form(create, fields, "Create ticket"))];
}

export async function ticketPage({ go, here }, id) {
  const ticket = await call("GET", `/tickets/${id}`);
  const messages = h("ol", { class: "messages", "aria-label": "Messages" }, ticket.messages.map(message));
  if (ticket.messages.length === 0) awaitAnswer(id, messages, here);
  const reload = () => go(`/tickets/${id}`);
  const reply = (values) => call("POST", `/tickets/${id}/messages`, values).then(reload);
  const close = () => call("POST", `/tickets/${id}/close`).then(reload);
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/" }, "All tickets"), ` / #${ticket.id}`),
    h("div", { class: "title" }, h("h1", {}, ticket.subject), status(ticket)),
    h(
      "section",
      { class: "card" },
      h("p", { class: "by" }, `${ticket.author}, ${day(ticket.created_at)}`),
      ticket.body && h("p", { class: "text" }, ticket.body),
      messages,
    ),
    !ticket.closed &&
      h(
        "section",
        { class: "card" },
        form(
          reply,
          field("Reply", h("textarea", { name: "reply", required: true, rows: 3 })),
          "Send reply",
          h("button", { type: "button", class: "quiet", click: close }, "Close ticket"),
        ),
      ),
  ].filter(Boolean);
}

function message({ author, body, created_at }) {
  return h("li", {}, h("p", { class: "by" }, `${author}, ${day(created_at)}`), h("p", { class: "text" }, body));
}

// A new ticket gets its first answer from the worker in a moment: looks for it while the page is open.
function awaitAnswer(id, list, here, tries = 20) {
  setTimeout(async () => {
    if (!here() || tries === 0) return;
    const ticket = await call("GET", `/tickets/${id}`);
    if (ticket.messages.length > 0) list.replaceChildren(...ticket.messages.map(message));
    else awaitAnswer(id, list, here, tries - 1);
  }, 500);
}
