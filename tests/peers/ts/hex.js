// Bytes in JSON: {"hex": "..."} in both directions, at any depth.

export function fromHex(value) {
  if (Array.isArray(value)) return value.map(fromHex)
  if (value === null || typeof value !== "object") return value
  if (typeof value.hex === "string") return new Uint8Array(Buffer.from(value.hex, "hex"))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromHex(item)]))
}

export function hexed(value) {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") }
  if (Array.isArray(value)) return value.map(hexed)
  if (typeof value === "bigint") return Number(value)
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, hexed(item)]))
}
