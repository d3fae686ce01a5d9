// The work of `amanat bench mls` (clients/bench/mls_work.py) on ts-mls 1.6.4, inside one Node process.
//
// usage: node bench.js SIZE
//
// Prints one JSON object. Times are processor time of the process in microseconds for each operation, the least
// of several rounds; peak memory is the process's. Bytes in and bytes out, as with the others.

import { randomBytes } from "node:crypto"

import { Member } from "./peer-1.js"

const size = Number(process.argv[2])
const sizes = [100, 1024, 12 * 1024]
const messages = 20
const rounds = size <= 64 ? 5 : 3

const member = (name) => Member.make(1, Buffer.from(name), {})
const cpu = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

async function timed(work) {
  const begun = cpu()
  const result = await work()
  return [cpu() - begun, result]
}

const add = (committer, packages) =>
  committer.commit({ adds: packages, removes: [], treeInWelcome: true, publicMessage: false })

async function build() {
  let committer = await member("member 0")
  let last = committer
  await committer.create({ groupId: Buffer.from("amanat bench mls") })
  for (let place = 1; place < size; place += 2) {
    const newcomers = []
    for (let index = place; index < Math.min(place + 2, size); index++) newcomers.push(await member(`member ${index}`))
    const { welcome } = await add(committer, newcomers.map((newcomer) => newcomer.keyPackage()))
    if (newcomers.length === 2 && place + 2 < size) {
      await newcomers[1].join({ welcome, tree: null })
      committer = newcomers[1]
    } else {
      for (const newcomer of newcomers) await newcomer.join({ welcome, tree: null })
      last = newcomers.at(-1)
    }
  }
  return [committer, last]
}

const [first, second] = await build()
const figures = { state_bytes: null }
const least = (name, value) => (figures[name] = Math.min(figures[name] ?? Infinity, value))

for (let round = 0; round < rounds; round++) {
  const [made, { message }] = await timed(() => add(second, []))
  const [processed] = await timed(() => first.process({ message }))
  least("commit", made)
  least("process", processed)
}
for (const bytes of size === 2 ? sizes : []) {
  const plaintext = randomBytes(bytes)
  for (let round = 0; round < rounds; round++) {
    const sealed = []
    const [seal] = await timed(async () => {
      for (let count = 0; count < messages; count++)
        sealed.push((await first.protect({ plaintext, authenticatedData: new Uint8Array() })).message)
    })
    const [open] = await timed(async () => {
      for (const message of sealed) await second.process({ message })
    })
    least(`protect_${bytes}`, seal / messages)
    least(`unprotect_${bytes}`, open / messages)
    least(`both_${bytes}`, (seal + open) / messages)
  }
}
for (let round = 0; round < Math.min(rounds, 3); round++) {
  const [made, newcomer] = await timed(() => member(`newcomer ${round}`))
  const [added, { message, welcome }] = await timed(() => add(second, [newcomer.keyPackage()]))
  const [joined] = await timed(() => newcomer.join({ welcome, tree: null }))
  least("key_package", made)
  least("add", added)
  least("join", joined)
  await first.process({ message })
}
figures.peak_kib = process.resourceUsage().maxRSS
console.log(JSON.stringify(figures))
