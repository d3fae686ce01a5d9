// The cipher suites that the tests use, among them 0xF002, which ts-mls does not know.
//
// 0xF002 is MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519 of draft-ietf-mls-pq-ciphersuites: KEM 0x647A,
// HKDF-SHA384, AES-256-GCM, Ed25519. It is registered at run time. @hpke/hybridkem-x-wing and the draft agree
// on everything but DeriveKeyPair: the library hashes the input by plain SHAKE256, the draft of HPKE-PQ says
// LabeledDerive. Without the override below, seal and open would work and tree keys diverge.

import { createHash } from "node:crypto"

import { XWing } from "@hpke/hybridkem-x-wing"
import { p256 } from "@noble/curves/nist.js"
import { ciphersuites, getCiphersuiteImpl } from "ts-mls"

const names = {
  1: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
  2: "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
  3: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
}
const hybridName = "MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519"
export const hybridCode = 0xf002

ciphersuites[hybridName] = hybridCode

const classical = {
  1: { hash: "SHA-256", aead: "AES128GCM", kem: "DHKEM-X25519-HKDF-SHA256", signature: "Ed25519" },
  2: { hash: "SHA-256", aead: "AES128GCM", kem: "DHKEM-P256-HKDF-SHA256", signature: "P256" },
  3: { hash: "SHA-256", aead: "CHACHA20POLY1305", kem: "DHKEM-X25519-HKDF-SHA256", signature: "Ed25519" },
}

export function labeledDerive(ikm, label, context, length) {
  const two = (n) => Buffer.from([n >> 8, n & 0xff])
  const hash = createHash("shake256", { outputLength: length })
  hash.update(ikm).update("HPKE-v1").update("KEM").update(two(0x647a))
  hash.update(two(label.length)).update(label).update(two(length)).update(context)
  return new Uint8Array(hash.digest()) // a copy with a buffer of its own, as XWing wants
}

async function hybrid() {
  const impl = await getCiphersuiteImpl({
    hash: "SHA-384",
    hpke: { kem: "X-Wing", aead: "AES256GCM", kdf: "HKDF-SHA384" },
    signature: "Ed25519",
    name: hybridName,
  })
  const kem = new XWing()
  const deriveKeyPair = async (ikm) =>
    await kem.generateKeyPairDerand(labeledDerive(ikm, "DeriveKeyPair", new Uint8Array(), 32))
  return { ...impl, hpke: { ...impl.hpke, deriveKeyPair } }
}

/** ts-mls makes compressed P-256 keys (33 bytes); RFC 9420 section 5.1.1 wants the uncompressed form. */
function uncompressed(impl) {
  const keygen = async () => {
    const signKey = p256.utils.randomSecretKey()
    return { signKey, publicKey: p256.getPublicKey(signKey, false) }
  }
  return { ...impl, signature: { ...impl.signature, keygen } }
}

async function known(code) {
  const { hash, signature, kem, aead } = classical[code]
  return await getCiphersuiteImpl({ hash, signature, hpke: { kem, aead, kdf: "HKDF-SHA256" }, name: names[code] })
}

const made = new Map()

/** The implementation of a suite by its code point, made once; `libraryKeys` leaves P-256 as ts-mls has it. */
export async function suiteOf(code, libraryKeys = false) {
  if (libraryKeys) return await known(code)
  if (!made.has(code)) {
    const impl = code === hybridCode ? await hybrid() : await known(code)
    made.set(code, code === 2 ? uncompressed(impl) : impl)
  }
  return made.get(code)
}
