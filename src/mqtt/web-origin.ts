// Which web pages may open a WebSocket to the embedded broker: any page of any site could otherwise do so from the browser of
// somebody who can reach it, and would be let in with that person's rights.

/** Programs send no Origin; pages must be of this host or on the list. */
export function originAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined || allowed.includes(origin)) return true;
  if (host === undefined || !URL.canParse(origin) || !URL.canParse(`http://${host}`)) return false;
  return new URL(origin).hostname === new URL(`http://${host}`).hostname;
}
