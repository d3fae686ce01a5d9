// ts-mls 1.6.4 checks vectors of 0xF002 in the official formats: one function for each kind, one case a call.
// A mismatch is an error. Cases are as in the JSON files (hexadecimal strings), not as the bridge encodes bytes.

import { XWing } from "@hpke/hybridkem-x-wing"
import { expandWithLabel, deriveSecret, deriveTreeSecret } from "ts-mls/crypto/kdf.js"
import { refhash } from "ts-mls/crypto/hash.js"
import { decryptWithLabel, encryptWithLabel } from "ts-mls/crypto/hpke.js"
import { signWithLabel, verifyWithLabel } from "ts-mls/crypto/signature.js"
import { applyUpdatePathSecret } from "ts-mls/createCommit.js"
import { decodeGroupContext } from "ts-mls/groupContext.js"
import { verifyGroupInfoSignature } from "ts-mls/groupInfo.js"
import { initializeEpoch, mlsExporter } from "ts-mls/keySchedule.js"
import { decodeMlsMessage } from "ts-mls/message.js"
import { makeKeyPackageRef } from "ts-mls/keyPackage.js"
import { getCommitSecret } from "ts-mls/pathSecrets.js"
import { updatePskSecret } from "ts-mls/presharedkey.js"
import { decodeProposal } from "ts-mls/proposal.js"
import {
  addLeafNode, decodeRatchetTree, encodeRatchetTree, removeLeafNode, resolution, updateLeafNode,
} from "ts-mls/ratchetTree.js"
import { createSecretTree, deriveKey, deriveNonce, ratchetUntil } from "ts-mls/secretTree.js"
import { expandSenderDataKey, expandSenderDataNonce } from "ts-mls/sender.js"
import { treeHash, treeHashRoot } from "ts-mls/treeHash.js"
import { leafToNodeIndex } from "ts-mls/treemath.js"
import { applyUpdatePath, decodeUpdatePath } from "ts-mls/updatePath.js"
import { decryptGroupInfo, decryptGroupSecrets } from "ts-mls/welcome.js"

import { hybridCode, suiteOf } from "./suites.js"

const suite = await suiteOf(hybridCode)
const { kdf, hash, hpke, signature } = suite

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"))
const hex = (value) => Buffer.from(value).toString("hex")

function equal(what, ours, wanted) {
  const [a, b] = [ours, wanted].map((value) => (value instanceof Uint8Array ? hex(value) : JSON.stringify(value)))
  const c = typeof wanted === "string" ? wanted : b
  if (a !== c) throw new Error(`${what}: ${a.slice(0, 80)} is not ${c.slice(0, 80)}`)
}

function whole(decode, text, what) {
  const read = decode(bytes(text), 0)
  if (read === undefined || read[1] !== text.length / 2) throw new Error(`cannot decode ${what}`)
  return read[0]
}

async function privateKey(text) {
  return await hpke.importPrivateKey(bytes(text))
}

export async function cryptoBasics(c) {
  // ts-mls prefixes no label of RefHash, as the RFC has it
  equal("ref_hash", await refhash(c.ref_hash.label, bytes(c.ref_hash.value), hash), c.ref_hash.out)
  const e = c.expand_with_label
  equal("expand", await expandWithLabel(bytes(e.secret), e.label, bytes(e.context), e.length, kdf), e.out)
  const d = c.derive_secret
  equal("derive_secret", await deriveSecret(bytes(d.secret), d.label, kdf), d.out)
  const t = c.derive_tree_secret
  equal("tree secret", await deriveTreeSecret(bytes(t.secret), t.label, t.generation, t.length, kdf), t.out)
  const s = c.sign_with_label
  const valid = await verifyWithLabel(bytes(s.pub), s.label, bytes(s.content), bytes(s.signature), signature)
  if (!valid) throw new Error("sign_with_label")
  equal("signature", await signWithLabel(bytes(s.priv), s.label, bytes(s.content), signature), s.signature)
  const x = c.encrypt_with_label
  const [key, context] = [await privateKey(x.priv), bytes(x.context)]
  const opened = await decryptWithLabel(key, x.label, context, bytes(x.kem_output), bytes(x.ciphertext), hpke)
  equal("encrypt_with_label", opened, x.plaintext)
  const public_ = await hpke.importPublicKey(bytes(x.pub))
  const ours = await encryptWithLabel(public_, x.label, context, bytes(x.plaintext), hpke)
  equal("our own", await decryptWithLabel(key, x.label, context, ours.enc, ours.ct, hpke), x.plaintext)
}

export async function keySchedule(c) {
  let init = bytes(c.initial_init_secret)
  for (const e of c.epochs) {
    const context = whole(decodeGroupContext, e.group_context, "group_context")
    const got = await initializeEpoch(init, bytes(e.commit_secret), context, bytes(e.psk_secret), kdf)
    const names = {
      init_secret: "initSecret", sender_data_secret: "senderDataSecret", exporter_secret: "exporterSecret",
      epoch_authenticator: "epochAuthenticator", external_secret: "externalSecret",
      confirmation_key: "confirmationKey", membership_key: "membershipKey", resumption_psk: "resumptionPsk",
    }
    for (const [name, theirs] of Object.entries(names)) equal(name, got.keySchedule[theirs], e[name])
    equal("joiner_secret", got.joinerSecret, e.joiner_secret)
    equal("welcome_secret", got.welcomeSecret, e.welcome_secret)
    equal("encryption_secret", got.encryptionSecret, e.encryption_secret)
    const pair = await hpke.deriveKeyPair(got.keySchedule.externalSecret)
    equal("external_pub", await hpke.exportPublicKey(pair.publicKey), e.external_pub)
    const { label, context: about, length, secret } = e.exporter
    equal("exporter", await mlsExporter(got.keySchedule.exporterSecret, label, bytes(about), length, suite), secret)
    init = got.keySchedule.initSecret
  }
}

export async function pskSecret(c) {
  let secret = new Uint8Array(kdf.size)
  for (const [index, { psk_id, psk, psk_nonce }] of c.psks.entries()) {
    const id = { psktype: "external", pskId: bytes(psk_id), pskNonce: bytes(psk_nonce) }
    secret = await updatePskSecret(secret, id, bytes(psk), index, c.psks.length, suite)
  }
  equal("psk_secret", secret, c.psk_secret)
}

export async function secretTree(c) {
  const { sender_data_secret, ciphertext, key, nonce } = c.sender_data
  equal("key", await expandSenderDataKey(suite, bytes(sender_data_secret), bytes(ciphertext)), key)
  equal("nonce", await expandSenderDataNonce(suite, bytes(sender_data_secret), bytes(ciphertext)), nonce)
  const tree = await createSecretTree(c.leaves.length, bytes(c.encryption_secret), kdf)
  const config = { retainKeysForGenerations: 0, retainKeysForEpochs: 1, maximumForwardRatchetSteps: 4096 }
  for (const [leaf, generations] of c.leaves.entries())
    for (const entry of generations)
      for (const kind of ["application", "handshake"]) {
        const [{ secret }] = await ratchetUntil(tree[leafToNodeIndex(leaf)][kind], entry.generation, config, kdf)
        equal(`${kind}_key`, await deriveKey(secret, entry.generation, suite), entry[`${kind}_key`])
        equal(`${kind}_nonce`, await deriveNonce(secret, entry.generation, suite), entry[`${kind}_nonce`])
      }
}

export async function treeValidation(c) {
  const tree = whole(decodeRatchetTree, c.tree, "tree")
  equal("tree, encoded again", encodeRatchetTree(tree), c.tree)
  for (let index = 0; index < tree.length; index++) {
    equal(`resolution of ${index}`, resolution(tree, index), c.resolutions[index])
    equal(`tree hash of ${index}`, await treeHash(tree, index, hash), c.tree_hashes[index])
  }
}

export async function treeOperations(c) {
  const tree = whole(decodeRatchetTree, c.tree_before, "tree_before")
  equal("tree_hash_before", await treeHashRoot(tree, hash), c.tree_hash_before)
  const proposal = whole(decodeProposal, c.proposal, "proposal")
  let after
  if (proposal.proposalType === "add") after = addLeafNode(tree, proposal.add.keyPackage.leafNode)[0]
  else if (proposal.proposalType === "update")
    after = updateLeafNode(tree, proposal.update.leafNode, c.proposal_sender)
  else after = removeLeafNode(tree, proposal.remove.removed)
  equal("tree_after", encodeRatchetTree(after), c.tree_after)
  equal("tree_hash_after", await treeHashRoot(after, hash), c.tree_hash_after)
}

export async function treekem(c) {
  const tree = whole(decodeRatchetTree, c.ratchet_tree, "ratchet_tree")
  for (const { sender, update_path, path_secrets, commit_secret, tree_hash_after } of c.update_paths) {
    const path = whole(decodeUpdatePath, update_path, "update_path")
    const after = await applyUpdatePath(tree, sender, path, hash)
    const treeHash = await treeHashRoot(after, hash)
    equal("tree_hash_after", treeHash, tree_hash_after)
    const context = {
      version: "mls10", cipherSuite: suite.name, groupId: bytes(c.group_id), epoch: BigInt(c.epoch), treeHash,
      confirmedTranscriptHash: bytes(c.confirmed_transcript_hash), extensions: [],
    }
    for (const leaf of c.leaves_private) {
      if (leaf.index === sender) continue
      const privateKeys = { [2 * leaf.index]: bytes(leaf.encryption_priv) }
      for (const { node, path_secret } of leaf.path_secrets) {
        const pair = await hpke.deriveKeyPair(await deriveSecret(bytes(path_secret), "node", kdf))
        equal(`public key of ${node}`, await hpke.exportPublicKey(pair.publicKey), hex(tree[node].parent.hpkePublicKey))
        privateKeys[node] = await hpke.exportPrivateKey(pair.privateKey)
      }
      const known = { leafIndex: leaf.index, privateKeys }
      const { nodeIndex, pathSecret } = await applyUpdatePathSecret(after, known, sender, context, path, [], suite)
      equal("path_secret", pathSecret, path_secrets[leaf.index])
      equal("commit_secret", await getCommitSecret(after, nodeIndex, pathSecret, kdf), commit_secret)
    }
  }
}

export async function welcome(c) {
  const { keyPackage } = whole(decodeMlsMessage, c.key_package, "key_package")
  const message = whole(decodeMlsMessage, c.welcome, "welcome").welcome
  const ref = await makeKeyPackageRef(keyPackage, hash)
  const secrets = await decryptGroupSecrets(await privateKey(c.init_priv), ref, message, hpke)
  if (secrets === undefined) throw new Error("the Welcome is for somebody else")
  const info = await decryptGroupInfo(message, secrets.joinerSecret, new Uint8Array(kdf.size), suite)
  if (!(await verifyGroupInfoSignature(info, bytes(c.signer_pub), signature))) throw new Error("signer_pub")
}

/** A published vector of draft-ietf-hpke-pq: ikmR gives skRm and pkRm, and enc gives shared_secret. */
export async function deriveKeyPair({ ikmR, skRm, pkRm, enc, shared_secret }) {
  const pair = await hpke.deriveKeyPair(bytes(ikmR))
  equal("skRm", await hpke.exportPrivateKey(pair.privateKey), skRm)
  equal("pkRm", await hpke.exportPublicKey(pair.publicKey), pkRm)
  const shared = await new XWing().decap({ recipientKey: pair.privateKey, enc: bytes(enc).buffer })
  equal("shared_secret", new Uint8Array(shared), shared_secret)
}
