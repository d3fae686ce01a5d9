// Passive-client cases in the official JSON format, made by ts-mls 1.6.4 as all active members.
//
//     node passive.js SUITE > cases.json
//
// Not made here, since ts-mls 1.6.4 differs from RFC 9420 in them: proposals by external senders (it reads one
// ExternalSender where the RFC has a vector of them).

import { randomBytes } from "node:crypto"

import {
  branchGroup,
  createCommit,
  createGroup,
  createGroupInfoWithExternalPubAndRatchetTree,
  createProposal,
  defaultCapabilities,
  encodeMlsMessage,
  generateKeyPackage,
  generateKeyPackageWithKey,
  joinGroup,
  joinGroupExternal,
  makePskIndex,
  processPrivateMessage,
  processPublicMessage,
  proposeAddExternal,
  reinitGroup,
} from "ts-mls"
import { encodePskId } from "ts-mls/presharedkey.js"
import { encodeRatchetTree } from "ts-mls/ratchetTree.js"

import { suiteOf } from "./suites.js"

const hex = (bytes) => Buffer.from(bytes).toString("hex")
const fresh = (length) => new Uint8Array(randomBytes(length))

class Scenario {
  static async start(code, suite, { tree, size }) {
    const self = new Scenario()
    Object.assign(self, { code, suite, psks: {}, members: [], case: undefined, proposals: [] })
    self.passive = await self.keys("passive")
    const creator = await self.keys("creator")
    self.members.push({
      keys: creator,
      state: await createGroup(fresh(16), creator.publicPackage, creator.privatePackage, [], suite),
    })
    while (self.members.length < size) await self.commit(0, { joiners: 1 })
    await self.commit(1, { joiners: 1, passive: true, tree })
    return self
  }

  async keys(name, signature) {
    const credential = { credentialType: "basic", identity: new TextEncoder().encode(name) }
    const lifetime = { notBefore: 0n, notAfter: 9223372036854775807n }
    const more = [credential, defaultCapabilities(), lifetime, []]
    if (signature === undefined) return { name, ...(await generateKeyPackage(...more, this.suite)) }
    const pair = {
      signKey: signature.privatePackage.signaturePrivateKey,
      publicKey: signature.publicPackage.leafNode.signaturePublicKey,
    }
    return { name, ...(await generateKeyPackageWithKey(...more, pair, this.suite)) }
  }

  psk() {
    const pskId = fresh(16)
    this.psks[Buffer.from(pskId).toString("base64")] = fresh(32)
    return {
      proposalType: "psk",
      psk: { preSharedKeyId: { psktype: "external", pskId, pskNonce: fresh(this.suite.kdf.size) } },
    }
  }

  index(state) {
    return makePskIndex(state, this.psks)
  }

  begin(made, tree) {
    const { publicPackage, privatePackage } = this.passive
    this.case = {
      cipher_suite: this.code,
      external_psks: [],
      key_package: hex(
        encodeMlsMessage({ version: "mls10", wireformat: "mls_key_package", keyPackage: publicPackage }),
      ),
      signature_priv: hex(privatePackage.signaturePrivateKey.slice(-32)), // Ed25519: out of its PKCS #8 wrapping
      encryption_priv: hex(privatePackage.hpkePrivateKey),
      init_priv: hex(privatePackage.initPrivateKey),
      welcome: hex(encodeMlsMessage({ version: "mls10", wireformat: "mls_welcome", welcome: made.welcome })),
      ratchet_tree: tree ? null : hex(encodeRatchetTree(made.newState.ratchetTree)),
      initial_epoch_authenticator: hex(made.newState.keySchedule.epochAuthenticator),
      epochs: [],
    }
  }

  record(message, state) {
    if (this.case !== undefined)
      this.case.epochs.push({
        proposals: this.proposals.map(hex),
        commit: hex(encodeMlsMessage(message)),
        epoch_authenticator: hex(state.keySchedule.epochAuthenticator),
      })
    this.proposals = []
  }

  async hear(message, except) {
    for (const [place, member] of this.members.entries()) {
      if (place === except) continue
      const { state } = member
      // Not processMessage: it forgets the PSKs where the message is private.
      const done =
        message.wireformat === "mls_private_message"
          ? await processPrivateMessage(state, message.privateMessage, this.index(state), this.suite, () => "accept")
          : await processPublicMessage(state, message.publicMessage, this.index(state), this.suite, () => "accept")
      member.state = done.newState
    }
    this.members = this.members.filter(({ state }) => state.groupActiveState.kind !== "removedFromGroup")
  }

  async propose(place, proposal, publicMessage) {
    const made = await createProposal(this.members[place].state, publicMessage, proposal, this.suite)
    this.members[place].state = made.newState
    await this.publish(made.message, place)
  }

  async publish(message, except) {
    this.proposals.push(encodeMlsMessage(message))
    await this.hear(message, except)
  }

  async commit(place, { proposals = [], joiners = 0, passive = false, tree = true, publicMessage = true } = {}) {
    const joining = []
    for (let count = 0; count < joiners; count += 1) joining.push(await this.keys(`joiner ${hex(fresh(4))}`))
    const packages = [...joining, ...(passive ? [this.passive] : [])].map(({ publicPackage }) => publicPackage)
    const state = this.members[place].state
    const made = await createCommit(
      { state, cipherSuite: this.suite, pskIndex: this.index(state) },
      {
        extraProposals: [
          ...proposals,
          ...packages.map((keyPackage) => ({ proposalType: "add", add: { keyPackage } })),
        ],
        ratchetTreeExtension: tree,
        wireAsPublicMessage: publicMessage,
      },
    )
    const committer = this.members[place]
    await this.hear(made.commit, place)
    committer.state = made.newState
    this.record(made.commit, made.newState)
    for (const keys of joining)
      this.members.push({
        keys,
        state: await joinGroup(
          made.welcome, keys.publicPackage, keys.privatePackage, this.index(undefined), this.suite,
          made.newState.ratchetTree,
        ),
      })
    if (passive) this.begin(made, tree)
  }

  async groupInfo(place) {
    return await createGroupInfoWithExternalPubAndRatchetTree(this.members[place].state, [], this.suite)
  }

  /** Everybody commits: ts-mls 1.6.4 takes no tree in which parents list different unmerged leaves. */
  async settle() {
    for (const place of this.members.keys()) await this.commit(place)
  }

  async joinExternally(sponsor, former) {
    await this.settle()
    const keys = await this.keys(former?.keys.name ?? "external", former?.keys)
    const info = await this.groupInfo(sponsor)
    const { publicPackage, privatePackage } = keys
    const made = await joinGroupExternal(info, publicPackage, privatePackage, former !== undefined, this.suite)
    const message = { version: "mls10", wireformat: "mls_public_message", publicMessage: made.publicMessage }
    this.members = this.members.filter((member) => member !== former)
    await this.hear(message)
    this.members.push({ keys, state: made.newState })
    this.record(message, made.newState)
  }

  leaf(place) {
    return this.members[place].state.privatePath.leafIndex
  }

  finished() {
    this.case.external_psks = Object.entries(this.psks).map(([id, psk]) => ({
      psk_id: hex(Buffer.from(id, "base64")),
      psk: hex(psk),
    }))
    return this.case
  }
}

async function externalJoins(code, suite) {
  const world = await Scenario.start(code, suite, { tree: true, size: 4 })
  await world.joinExternally(0)
  await world.commit(2, { publicMessage: false })
  await world.joinExternally(1, world.members[2])
  await world.commit(1, { joiners: 1 })
  await world.commit(0, { proposals: [{ proposalType: "remove", remove: { removed: world.leaf(1) } }] })
  await world.joinExternally(0)
  await world.commit(1)
  return world.finished()
}

async function proposals(code, suite) {
  const world = await Scenario.start(code, suite, { tree: false, size: 4 })
  await world.propose(1, { proposalType: "remove", remove: { removed: world.leaf(2) } }, false)
  await world.propose(3, world.psk(), true)
  await world.commit(0, { proposals: [world.psk()], publicMessage: false })
  const applicant = await world.keys("applicant")
  const info = await world.groupInfo(0)
  await world.publish(await proposeAddExternal(info, applicant.publicPackage, applicant.privatePackage, suite))
  await world.commit(1)
  const groupContextExtensions = { extensions: [] }
  await world.propose(0, { proposalType: "group_context_extensions", groupContextExtensions }, true)
  await world.commit(1)
  await world.settle()
  await world.commit(1, { joiners: 1 })
  return world.finished()
}

async function reinitialisation(code, suite) {
  const world = await Scenario.start(code, suite, { tree: true, size: 3 })
  await world.commit(0)
  const made = await reinitGroup(world.members[1].state, fresh(8), "mls10", suite.name, [], suite)
  world.record(made.commit, made.newState)
  return world.finished()
}

async function branch(code, suite) {
  const world = await Scenario.start(code, suite, { tree: true, size: 3 })
  const old = world.members[0].state
  const keys = await world.keys(world.members[0].keys.name, world.members[0].keys)
  const id = { psktype: "resumption", usage: "branch", pskGroupId: old.groupContext.groupId }
  const named = encodePskId({ ...id, pskEpoch: old.groupContext.epoch, pskNonce: new Uint8Array() })
  const psk = old.keySchedule.resumptionPsk
  const { publicPackage, privatePackage } = keys
  const passive = world.passive.publicPackage
  const made = await branchGroup(old, publicPackage, privatePackage, [passive], fresh(16), suite)
  world.members = [{ keys, state: made.newState }]
  world.begin(made, false)
  world.psks[Buffer.from(named.slice(0, -1)).toString("base64")] = psk
  await world.commit(0, { joiners: 1 })
  return world.finished()
}

const code = Number(process.argv[2])
const suite = await suiteOf(code)
const cases = {}
for (const make of [externalJoins, proposals, reinitialisation, branch]) cases[make.name] = await make(code, suite)
process.stdout.write(JSON.stringify(cases))
