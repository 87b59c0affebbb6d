// Calls of the API, which lives on another origin and knows us by its cookie.

export async function call(method, path, data) {
  const response = await fetch(window.DESK.api + path, {
    method,
    credentials: "include",
    headers: data ? { "Content-Type": "application/json" } : {},
    body: data ? JSON.stringify(data) : undefined,
  });
  const result = await response.json();
  if (!response.ok) throw new Error(result.error);
  return result;
}
