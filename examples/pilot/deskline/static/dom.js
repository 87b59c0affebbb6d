// Making elements: h("a", { href: "/" }, "Home"). Functions become listeners; empty children are left out.

export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child || child === 0));
  return element;
}

// A form that calls `submit` with its values, and shows what went wrong above its buttons.
export function form(submit, fields, button, ...more) {
  const problem = h("p", { role: "alert", class: "problem" });
  const send = h("button", { type: "submit" }, button);
  async function submitted(event) {
    event.preventDefault();
    problem.textContent = "";
    send.disabled = true;
    try {
      await submit(Object.fromEntries(new FormData(event.target)));
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      send.disabled = false;
    }
  }
  return h("form", { submit: submitted }, fields, problem, h("div", { class: "buttons" }, send, more));
}

export function field(label, control) {
  return h("label", {}, h("span", {}, label), control);
}

export function day(text) {
  return new Date(text).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}
