// A small JSON-lines bridge: one request a line on standard input, one answer a line on standard output.
//
// usage: node bridge.js 1.6.4 | 2.0.0-rc.10 | core-crypto     (the first two are versions of ts-mls)
//
// A request is {"id": n, "op": name, "member": handle, ...}; bytes are hexadecimal. An answer is
// {"id": n, "result": {...}} or {"id": n, "error": sentence}. Requests are answered in order. Members live in
// memory until "forget". Nothing here is used outside of tests.

import { createInterface } from "node:readline"

import { fromHex, hexed } from "./hex.js"

const peers = { "1.6.4": "./peer-1.js", "2.0.0-rc.10": "./peer-2-rc.js", "core-crypto": "./peer-core-crypto.js" }

const wanted = process.argv[2]
if (!(wanted in peers)) {
  console.error("usage: node bridge.js " + Object.keys(peers).join(" | "))
  process.exit(2)
}
const { Member, library } = await import(peers[wanted])
const members = new Map()

async function answer({ op, member, ...rest }) {
  if (op === "hello") return { node: process.version, library }
  if (op === "forget") {
    members.clear()
    return {}
  }
  if (op === "call") return (await library[rest.name](fromHex(rest.arguments))) ?? {}
  if (op === "new") {
    const made = await Member.make(rest.suite, fromHex(rest.identity), rest.settings ?? {})
    members.set(member, made)
    return { keyPackage: made.keyPackage() }
  }
  const subject = members.get(member)
  if (subject === undefined) throw new Error("no such member")
  return await subject[op](fromHex(rest))
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { id, ...request } = JSON.parse(line)
  let reply
  try {
    reply = { id, result: hexed(await answer(request)) }
  } catch (error) {
    reply = { id, error: `${error?.name ?? "Error"}: ${error?.message ?? error}` }
  }
  process.stdout.write(JSON.stringify(reply) + "\n")
}
