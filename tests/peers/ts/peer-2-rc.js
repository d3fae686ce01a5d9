// ts-mls 2.0.0-rc.10 behind the bridge: the negative control of the test of removed members.
//
// This release candidate sends the commit of a single Remove without a path, so that whoever was removed can
// compute the next epoch. Only what that test needs is here, on suite 1 alone.

import {
  createApplicationMessage,
  createCommit,
  createGroup,
  decode,
  defaultCapabilities,
  defaultCredentialTypes,
  defaultProposalTypes,
  encode,
  generateKeyPackage,
  getCiphersuiteImpl,
  joinGroup,
  keyPackageDecoder,
  keyPackageEncoder,
  mlsExporter,
  mlsMessageDecoder,
  mlsMessageEncoder,
  processMessage,
  unsafeTestingAuthenticationService,
} from "ts-mls-2-rc"

export const library = { name: "ts-mls", version: "2.0.0-rc.10" }

function decoded(decoder, bytes, what) {
  const result = decode(decoder, bytes)
  if (result === undefined) throw new Error(`cannot decode ${what}`)
  return result
}

export class Member {
  static async make(code, identity) {
    if (code !== 1) throw new Error("suite 1 alone")
    const self = new Member()
    const cipherSuite = await getCiphersuiteImpl("MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519")
    self.context = { cipherSuite, authService: unsafeTestingAuthenticationService }
    const now = BigInt(Math.floor(Date.now() / 1000))
    self.keys = await generateKeyPackage({
      credential: { credentialType: defaultCredentialTypes.basic, identity },
      capabilities: defaultCapabilities(),
      lifetime: { notBefore: now - 3600n, notAfter: now + 86_400n },
      cipherSuite,
    })
    return self
  }

  keyPackage() {
    return encode(keyPackageEncoder, this.keys.publicPackage)
  }

  async create({ groupId }) {
    const { publicPackage, privatePackage } = this.keys
    this.state = await createGroup({
      context: this.context, groupId, keyPackage: publicPackage, privateKeyPackage: privatePackage,
    })
    return {}
  }

  async join({ welcome }) {
    const { publicPackage, privatePackage } = this.keys
    this.state = await joinGroup({
      context: this.context,
      welcome: decoded(mlsMessageDecoder, welcome, "the Welcome").welcome,
      keyPackage: publicPackage,
      privateKeys: privatePackage,
    })
    return {}
  }

  async commit({ adds, removes, treeInWelcome, publicMessage }) {
    const add = adds.map((bytes) => ({
      proposalType: defaultProposalTypes.add,
      add: { keyPackage: decoded(keyPackageDecoder, bytes, "a KeyPackage") },
    }))
    const remove = removes.map((removed) => ({ proposalType: defaultProposalTypes.remove, remove: { removed } }))
    const made = await createCommit({
      context: this.context,
      state: this.state,
      extraProposals: [...remove, ...add],
      ratchetTreeExtension: treeInWelcome,
      wireAsPublicMessage: publicMessage,
    })
    this.state = made.newState
    const welcome = made.welcome === undefined ? null : encode(mlsMessageEncoder, made.welcome)
    return { message: encode(mlsMessageEncoder, made.commit), welcome, tree: null }
  }

  async process({ message }) {
    const result = await processMessage({
      context: this.context, state: this.state, message: decoded(mlsMessageDecoder, message, "the message"),
    })
    this.state = result.newState
    if (result.kind === "applicationMessage")
      return { kind: "application", sender: null, plaintext: result.message, authenticatedData: result.aad }
    return { kind: this.state.groupActiveState.kind === "removedFromGroup" ? "removed" : "commit" }
  }

  async protect({ plaintext, authenticatedData }) {
    const made = await createApplicationMessage({
      context: this.context, state: this.state, message: plaintext, authenticatedData,
    })
    this.state = made.newState
    return { message: encode(mlsMessageEncoder, made.message) }
  }

  async view({ label, context, length }) {
    const { groupContext, keySchedule, ratchetTree, privatePath, historicalReceiverData } = this.state
    return {
      exported: await mlsExporter(keySchedule.exporterSecret, label, context, length, this.context.cipherSuite),
      epoch: groupContext.epoch,
      leaf: privatePath.leafIndex,
      authenticator: keySchedule.epochAuthenticator,
      treeHash: groupContext.treeHash,
      transcriptHash: groupContext.confirmedTranscriptHash,
      leaves: ratchetTree.flatMap((node, index) => (node !== undefined && index % 2 === 0 ? [index / 2] : [])),
      epochsKept: historicalReceiverData.size,
    }
  }
}
