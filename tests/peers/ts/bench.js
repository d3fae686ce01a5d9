// The work of `amanat bench mls` (clients/bench/mls_work.py) on ts-mls 1.6.4, inside one Node process.
//
// usage: node bench.js MEMBERS PYTHON
//
// PYTHON runs clients.bench.mls_group, from the repository's folder. Prints a JSON object after each part of the
// work, with all figures so far. Times are processor time of the process in microseconds for each operation, the
// median of several rounds; memory is the process's. Bytes in and bytes out, as with the others.

import { execFileSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"

import { encodeGroupState } from "ts-mls"

import { Member } from "./peer-1.js"

const size = Number(process.argv[2])
const python = process.argv[3]
const sizes = [100, 1024, 12 * 1024]
const messages = 20
const mostRounds = 15
const leastRounds = 3
const partMilliseconds = 8000

const times = {}
const figures = {}

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

async function timed(name, work, operations = 1) {
  const begun = cpu()
  const result = await work()
  times[name] = [...(times[name] ?? []), (cpu() - begun) / operations]
  return result
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function show() {
  const medians = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, Math.round(median(values))]))
  const rounds = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, values.length]))
  console.log(JSON.stringify({ figures: { ...medians, ...figures }, rounds }))
}

function* rounds() {
  const begun = performance.now()
  for (let round = 0; round < mostRounds; round++) {
    if (round >= leastRounds && performance.now() - begun > partMilliseconds) return
    yield round
  }
}

function peakKib() {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "ascii"))[1])
  } catch {
    return null
  }
}

const member = (name) => Member.make(1, Buffer.from(name), {})
const change = (committer, adds, removes) =>
  committer.commit({ adds, removes, treeInWelcome: true, publicMessage: false })

function founded(keyPackages) {
  const wanted = { key_packages: keyPackages.map((bytes) => Buffer.from(bytes).toString("hex")) }
  const made = execFileSync(python, ["-m", "clients.bench.mls_group", "1", String(size - 2)], {
    input: JSON.stringify(wanted),
    maxBuffer: 1 << 26,
  })
  const message = Buffer.from(JSON.parse(made).welcome, "hex")
  return new Uint8Array(message)
}

async function meet() {
  const [first, second] = [await member("first"), await member("second")]
  let welcome
  if (size === 2) {
    await first.create({ groupId: Buffer.from("amanat bench mls") })
    welcome = (await change(first, [second.keyPackage()], [])).welcome
  } else {
    welcome = founded([first.keyPackage(), second.keyPackage()])
    await first.join({ welcome, tree: null })
  }
  await second.join({ welcome, tree: null })
  await first.process({ message: (await change(second, [], [])).message })
  await second.process({ message: (await change(first, [], [])).message })
  return [first, second]
}

const base = peakKib()
const [first, second] = await meet()
figures.state_bytes = encodeGroupState(second.state).length
for (const _ of rounds()) {
  const { message } = await timed("commit", () => change(second, [], []))
  await timed("process", () => first.process({ message }))
}
show()
for (const bytes of size === 2 ? sizes : []) {
  const plaintext = randomBytes(bytes)
  for (const _ of rounds()) {
    const sealed = []
    const seal = async () => {
      for (let count = 0; count < messages; count++)
        sealed.push((await first.protect({ plaintext, authenticatedData: new Uint8Array() })).message)
    }
    await timed(`protect_${bytes}`, seal, messages)
    const open = async () => {
      for (const message of sealed) await second.process({ message })
    }
    await timed(`unprotect_${bytes}`, open, messages)
  }
  times[`both_${bytes}`] = times[`protect_${bytes}`].map((seal, round) => seal + times[`unprotect_${bytes}`][round])
  show()
}
for (const round of rounds()) {
  const newcomer = await timed("key_package", () => member(`newcomer ${round}`))
  const { message, welcome } = await timed("add", () => change(second, [newcomer.keyPackage()], []))
  await timed("join", () => newcomer.join({ welcome, tree: null }))
  await first.process({ message })
  await first.process({ message: (await change(second, [], [size])).message })
}
figures.peak_kib = peakKib()
figures.growth_kib = base === null ? null : figures.peak_kib - base
show()
