// Addresses of brokers: what may be one, and how it is shown.

const SCHEMES = ["mqtt:", "mqtts:", "ws:", "wss:"];

/** What is wrong with the address, or undefined. */
export function brokerUrlFault(text: string): string | undefined {
  if (!URL.canParse(text)) return "broker URL cannot be read, expected for example mqtt://broker:1883";
  const { protocol } = new URL(text);
  if (SCHEMES.includes(protocol)) return undefined;
  return `broker URL has the scheme ${protocol.slice(0, -1)}, expected mqtt, mqtts, ws or wss`;
}

/** The address as it may be logged. */
export function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^/@]*@/, "//");
}
