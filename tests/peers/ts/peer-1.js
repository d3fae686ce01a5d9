// ts-mls 1.6.4 behind the bridge.

import {
  createApplicationMessage,
  createCommit,
  createGroup,
  createProposal,
  decodeMlsMessage,
  defaultCapabilities,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackage,
  joinGroup,
  makePskIndex,
  mlsExporter,
  processMessage,
} from "ts-mls"
import { defaultClientConfig } from "ts-mls/clientConfig.js"
import { decodeKeyPackage, encodeKeyPackage } from "ts-mls/keyPackage.js"
import { signLeafNodeCommit as signLeafNode } from "ts-mls/leafNode.js"
import { unprotectPrivateMessage } from "ts-mls/messageProtection.js"
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js"

import { suiteOf } from "./suites.js"
import * as vectors from "./vectors.js"

export const library = { name: "ts-mls", version: "1.6.4", ...vectors }

function decoded(decode, bytes, what) {
  const result = decode(bytes, 0)
  if (result === undefined || result[1] !== bytes.length) throw new Error(`cannot decode ${what}`)
  return result[0]
}

export class Member {
  /** A client with one KeyPackage; settings: keepSkipped, keepEpochs, libraryKeys. */
  static async make(code, identity, settings) {
    const self = new Member()
    self.suite = await suiteOf(code, settings.libraryKeys)
    const now = BigInt(Math.floor(Date.now() / 1000))
    const lifetime = { notBefore: now - 3600n, notAfter: now + 86_400n }
    const credential = { credentialType: "basic", identity }
    self.keys = await generateKeyPackage(credential, defaultCapabilities(), lifetime, [], self.suite)
    self.config = {
      ...defaultClientConfig,
      keyRetentionConfig: {
        retainKeysForGenerations: settings.keepSkipped ?? 0,
        retainKeysForEpochs: settings.keepEpochs ?? 1,
        maximumForwardRatchetSteps: 4096,
      },
      paddingConfig: { kind: "alwaysPad", paddingLength: 0 },
    }
    return self
  }

  keyPackage() {
    return encodeKeyPackage(this.keys.publicPackage)
  }

  async create({ groupId }) {
    const { publicPackage, privatePackage } = this.keys
    this.state = await createGroup(groupId, publicPackage, privatePackage, [], this.suite, this.config)
    return {}
  }

  async join({ welcome, tree }) {
    const { publicPackage, privatePackage } = this.keys
    const message = decoded(decodeMlsMessage, welcome, "the Welcome")
    const ratchetTree = tree === null ? undefined : decoded(decodeRatchetTree, tree, "the tree")
    this.state = await joinGroup(
      message.welcome, publicPackage, privatePackage, emptyPskIndex, this.suite, ratchetTree, undefined, this.config,
    )
    return {}
  }

  async commit({ adds, removes, treeInWelcome, publicMessage }) {
    const add = adds.map((bytes) => ({
      proposalType: "add",
      add: { keyPackage: decoded(decodeKeyPackage, bytes, "a KeyPackage") },
    }))
    const remove = removes.map((removed) => ({ proposalType: "remove", remove: { removed } }))
    const made = await createCommit(
      { state: this.state, cipherSuite: this.suite, pskIndex: makePskIndex(this.state, {}) },
      {
        extraProposals: [...remove, ...add],
        ratchetTreeExtension: treeInWelcome,
        wireAsPublicMessage: publicMessage,
      },
    )
    this.state = made.newState
    const welcome =
      made.welcome === undefined
        ? null
        : encodeMlsMessage({ version: "mls10", wireformat: "mls_welcome", welcome: made.welcome })
    return { message: encodeMlsMessage(made.commit), welcome, tree: encodeRatchetTree(this.state.ratchetTree) }
  }

  /** An Update proposal. ts-mls keeps no new leaf key for one: `process` puts it in before the commit. */
  async proposeUpdate({ publicMessage }) {
    const { hpke, signature } = this.suite
    const index = this.state.privatePath.leafIndex
    const leaf = this.state.ratchetTree[2 * index].leaf
    const fresh = await hpke.generateKeyPair()
    const leafNode = await signLeafNode(
      {
        leafNodeSource: "update",
        hpkePublicKey: await hpke.exportPublicKey(fresh.publicKey),
        signaturePublicKey: leaf.signaturePublicKey,
        extensions: leaf.extensions,
        credential: leaf.credential,
        capabilities: leaf.capabilities,
        groupId: this.state.groupContext.groupId,
        leafIndex: index,
      },
      this.state.signaturePrivateKey,
      signature,
    )
    this.updated = await hpke.exportPrivateKey(fresh.privateKey)
    const proposal = { proposalType: "update", update: { leafNode } }
    const made = await createProposal(this.state, publicMessage, proposal, this.suite)
    this.state = made.newState
    return { message: encodeMlsMessage(made.message) }
  }

  async process({ message }) {
    const read = decoded(decodeMlsMessage, message, "the message")
    const { suite } = this
    if (read.wireformat === "mls_private_message" && read.privateMessage.contentType === "application") {
      const { keySchedule, secretTree, ratchetTree, groupContext } = this.state
      if (read.privateMessage.epoch !== groupContext.epoch) throw new Error("of another epoch")
      const opened = await unprotectPrivateMessage(
        keySchedule.senderDataSecret, read.privateMessage, secretTree, ratchetTree, groupContext,
        this.config.keyRetentionConfig, suite,
      )
      this.state = { ...this.state, secretTree: opened.tree }
      const { sender, applicationData, authenticatedData } = opened.content.content
      return { kind: "application", sender: sender.leafIndex, plaintext: applicationData, authenticatedData }
    }
    const contentType = read.privateMessage?.contentType ?? read.publicMessage?.content.contentType
    let before = this.state
    if (contentType === "commit" && this.updated !== undefined) {
      const { privatePath } = this.state
      const privateKeys = { ...privatePath.privateKeys, [2 * privatePath.leafIndex]: this.updated }
      before = { ...this.state, privatePath: { ...privatePath, privateKeys } }
    }
    const result = await processMessage(read, before, emptyPskIndex, () => "accept", suite)
    this.state = result.newState
    if (contentType === "commit") this.updated = undefined
    const removed = this.state.groupActiveState.kind === "removedFromGroup"
    return { kind: removed ? "removed" : contentType }
  }

  async protect({ plaintext, authenticatedData }) {
    const made = await createApplicationMessage(this.state, plaintext, this.suite, authenticatedData)
    this.state = made.newState
    const { privateMessage } = made
    return { message: encodeMlsMessage({ version: "mls10", wireformat: "mls_private_message", privateMessage }) }
  }

  async view({ label, context, length }) {
    const { groupContext, keySchedule, ratchetTree, privatePath, historicalReceiverData } = this.state
    return {
      exported: await mlsExporter(keySchedule.exporterSecret, label, context, length, this.suite),
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
