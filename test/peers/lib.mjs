// What a stranger needs to check an artefact of a RoboTorq reserve: a CBOR
// decoder, SHA-256 and signature libraries. Written from the specification,
// sharing nothing with the Go code.
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { falcon512padded } from '@noble/post-quantum/falcon.js';
import { slh_dsa_sha2_128s } from '@noble/post-quantum/slh-dsa.js';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { decode } from 'cborg';

export class Fault extends Error {}
export const must = (ok, what) => { if (!ok) throw new Fault(what); };

export const sha256 = (...parts) => nobleSha256(Buffer.concat(parts.map((p) => Buffer.from(p))));
export const hex = (b) => Buffer.from(b).toString('hex');
export const unhex = (s) => new Uint8Array(Buffer.from(s, 'hex'));
export const same = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;
export const utf8 = (s) => Buffer.from(s, 'utf8');

export function unbase64(s) {
  const bytes = Buffer.from(s, 'base64');
  must(bytes.toString('base64') === s, 'base64 is not canonical');
  return new Uint8Array(bytes);
}

// Integers come back as BigInt where they pass 2^53, as Number else.
export const cbor = (bytes) => decode(bytes, { allowBigInt: true, strict: true, rejectDuplicateMapKeys: true });
export const big = (n) => BigInt(n);

export const verifiers = {
  ed25519: (sig, msg, pub) => ed25519.verify(sig, msg, pub),
  'falcon-512-padded': (sig, msg, pub) => falcon512padded.verify(sig, msg, pub),
  'slh-dsa-sha2-128s': (sig, msg, pub) => slh_dsa_sha2_128s.verify(sig, msg, pub),
  'ml-dsa-65': (sig, msg, pub) => ml_dsa65.verify(sig, msg, pub),
};

export const algorithmsOf = (role) =>
  role === 'root' || role === 'mint' ? ['ed25519', 'slh-dsa-sha2-128s'] : ['ed25519', 'falcon-512-padded'];

// DSSE v1 pre-authentication encoding.
export function pae(type, payload) {
  const t = utf8(type);
  return Buffer.concat([utf8(`DSSEv1 ${t.length} `), t, utf8(` ${payload.length} `), Buffer.from(payload)]);
}

export const digestOf = (type, payload) => sha256(pae(type, payload));

export const keyID = (alg, pub) => hex(sha256(utf8(alg), [0], pub)).slice(0, 16);

export function checkKey(k) {
  const pub = unbase64(k.public);
  must(keyID(k.alg, pub) === k.keyid, `keyid of ${k.name} (${k.alg})`);
  return { ...k, pub };
}

export function openEnvelope(doc) {
  must(Object.keys(doc).sort().join() === 'payload,payloadType,signatures', 'DSSE fields');
  const payload = unbase64(doc.payload);
  return {
    type: doc.payloadType,
    payload,
    signatures: doc.signatures.map((s) => ({ keyid: s.keyid, sig: unbase64(s.sig) })),
    digest: digestOf(doc.payloadType, payload),
  };
}

// Verifies that every algorithm of the role signed under the given name.
export function checkSigned(env, keys, role, name, at) {
  const message = pae(env.type, env.payload);
  for (const alg of algorithmsOf(role)) {
    const mine = keys.filter((k) => k.role === role && k.alg === alg && (name === null || k.name === name)
      && k.not_before_ms <= at && (k.not_after_ms === null || at < k.not_after_ms));
    const ok = env.signatures.some((s) => mine.some((k) => k.keyid === s.keyid && verifiers[alg](s.sig, message, k.pub)));
    must(ok, `${env.type}: no valid ${alg} signature of ${role} ${name ?? ''} at ${at}`);
  }
}

export const leafHash = (data) => sha256([0], data);
export const nodeHash = (l, r) => sha256([1], l, r);

// RFC 6962 §2.1 tree head over leaf hashes.
export function treeHash(leaves) {
  if (leaves.length === 0) return sha256();
  let level = leaves;
  while (level.length > 1) {
    const next = [];
    for (let i = 0; i + 1 < level.length; i += 2) next.push(nodeHash(level[i], level[i + 1]));
    if (level.length % 2 === 1) next.push(level[level.length - 1]);
    level = next;
  }
  return level[0];
}

// RFC 9162 §2.1.3.2: the root that a path from a leaf leads to.
export function rootOf(leaf, index, size, path) {
  must(index < size, 'index outside the tree');
  let fn = index; let sn = size - 1; let r = leaf;
  for (const p of path) {
    must(sn !== 0, 'path too long');
    if (fn % 2 === 1 || fn === sn) {
      r = nodeHash(p, r);
      while (fn % 2 === 0 && fn !== 0) { fn = Math.floor(fn / 2); sn = Math.floor(sn / 2); }
    } else {
      r = nodeHash(r, p);
    }
    fn = Math.floor(fn / 2); sn = Math.floor(sn / 2);
  }
  must(sn === 0, 'path too short');
  return r;
}

// The root of an ingot: leaves are SHA-256(0x00 | report | uint64be(index)).
export function oreRoot(spans) {
  const leaf = Buffer.alloc(41);
  const stack = []; // [height, hash]: perfect subtrees from left to right
  for (const [report, first, count] of spans) {
    Buffer.from(report).copy(leaf, 1);
    for (let i = 0n; i < big(count); i++) {
      leaf.writeBigUInt64BE(big(first) + i, 33);
      let height = 0; let hash = nobleSha256(leaf);
      while (stack.length && stack[stack.length - 1][0] === height) hash = nodeHash(stack.pop()[1], (height++, hash));
      stack.push([height, hash]);
    }
  }
  let root = stack.pop()[1];
  while (stack.length) root = nodeHash(stack.pop()[1], root);
  return root;
}

// A C2SP tlog-proof file: index, path and the signed checkpoint.
export function parseLogProof(text) {
  const [head, ...rest] = text.split('\n\n');
  const checkpoint = rest.join('\n\n');
  const lines = head.split('\n');
  must(lines.shift() === 'c2sp.org/tlog-proof@v1', 'tlog-proof header');
  if (lines[0].startsWith('extra ')) lines.shift();
  const index = /^index (\d+)$/.exec(lines.shift());
  must(index, 'tlog-proof index');
  return { index: Number(index[1]), path: lines.map(unbase64), checkpoint };
}

// A signed note: text, blank line, one line a signature.
export function parseNote(note) {
  const at = note.lastIndexOf('\n\n');
  must(at > 0, 'note without signatures');
  const text = note.slice(0, at + 1);
  const signatures = note.slice(at + 2).trimEnd().split('\n').map((line) => {
    const m = /^\u2014 (\S+) (\S+)$/.exec(line);
    must(m, 'note signature line');
    const raw = unbase64(m[2]);
    return { name: m[1], id: hex(raw.slice(0, 4)), sig: raw.slice(4) };
  });
  return { text, signatures };
}

export function checkCheckpoint(note, origin, keys) {
  const { text, signatures } = parseNote(note);
  const [name, size, root] = text.split('\n');
  must(name === origin, 'checkpoint origin');
  const kinds = { ed25519: Buffer.from([0x01]), 'falcon-512-padded': Buffer.concat([Buffer.from([0xff]), utf8('robotorq.org/falcon-512-padded')]) };
  for (const [alg, kind] of Object.entries(kinds)) {
    const ok = keys.filter((k) => k.role === 'log' && k.alg === alg).some((k) => {
      const id = hex(sha256(utf8(origin), [0x0a], kind, k.pub)).slice(0, 8);
      return signatures.some((s) => s.name === origin && s.id === id && verifiers[alg](s.sig, utf8(text), k.pub));
    });
    must(ok, `checkpoint: no valid ${alg} signature of the log`);
  }
  return { size: Number(size), root: unbase64(root) };
}
