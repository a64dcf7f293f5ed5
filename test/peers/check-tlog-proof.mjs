// Checks a C2SP tlog-proof file: that an entry is in the log, under a checkpoint
// that all of the log's keys signed, and who cosigned it.
//
//   node check-tlog-proof.mjs FILE KEYS PAYLOAD-TYPE DIGEST-HEX
//
// KEYS is a charter (JSON, as it is signed) or a file of verifier keys, one a line:
// <name>+<8 hex digits>+<base64 of type and key>. Every key of the log must have
// signed; a witness (type 0x04) need not have, but a line of it must verify. A line
// of anybody else is refused.
import { readFileSync } from 'node:fs';
import {
  Fault, checkKey, hex, leafHash, must, parseLogProof, parseNote, rootOf, same, sha256, unbase64, unhex, utf8, verifiers,
} from './lib.mjs';

const falcon = Buffer.concat([Buffer.from([0xff]), utf8('robotorq.org/falcon-512-padded')]);
const kinds = [
  { alg: 'ed25519', kind: Buffer.from([0x01]), witness: false },
  { alg: 'falcon-512-padded', kind: falcon, witness: false },
  { alg: 'ed25519', kind: Buffer.from([0x04]), witness: true },
];
const keyOf = (name, { alg, kind, witness }, pub) =>
  ({ name, alg, witness, pub, id: hex(sha256(utf8(name), [0x0a], kind, pub)).slice(0, 8) });

function parseVerifierKey(line) {
  const m = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(line);
  must(m, `verifier key ${line}`);
  const raw = Buffer.from(unbase64(m[3]));
  const kind = kinds.find((k) => raw.subarray(0, k.kind.length).equals(k.kind));
  must(kind, `signature type of ${m[1]}`);
  const key = keyOf(m[1], kind, raw.subarray(kind.kind.length));
  must(key.id === m[2], `key id of ${m[1]}`);
  return key;
}

function parseKeys(text) {
  if (!text.startsWith('{')) return text.split('\n').filter((l) => l.trim()).map(parseVerifierKey);
  return JSON.parse(text).keys.map(checkKey).filter((k) => k.role === 'log' || k.role === 'witness' && k.alg === 'ed25519')
    .map((k) => keyOf(k.name, kinds.find((x) => x.alg === k.alg && x.witness === (k.role === 'witness')), k.pub));
}

// A cosignature is the time, 8 bytes, and a signature over it and the note's text.
function verifyLine(key, text, sig) {
  if (!key.witness) return verifiers[key.alg](sig, utf8(text), key.pub);
  const seconds = Buffer.from(sig).readBigUInt64BE(0);
  return sig.length === 72 && verifiers.ed25519(sig.slice(8), utf8(`cosignature/v1\ntime ${seconds}\n${text}`), key.pub);
}

try {
  const [file, keyFile, type, digest] = process.argv.slice(2);
  must(/^[0-9a-f]{64}$/.test(digest ?? ''), 'usage: check-tlog-proof.mjs FILE KEYS PAYLOAD-TYPE DIGEST-HEX');
  const keys = parseKeys(readFileSync(keyFile, 'utf8'));
  const proof = parseLogProof(readFileSync(file, 'utf8'));
  const { text, signatures } = parseNote(proof.checkpoint);
  const [origin, size, root] = text.split('\n');
  must(/^(0|[1-9]\d*)$/.test(size), 'size of the checkpoint');
  const own = keys.filter((k) => !k.witness);
  must(own.length > 0 && own.every((k) => k.name === origin), `the keys are not those of log ${origin}`);
  const signed = new Set();
  for (const s of signatures) {
    const key = keys.find((k) => k.name === s.name && k.id === s.id);
    must(key, `a line is signed by ${s.name}+${s.id}, which is not listed`);
    must(!signed.has(key), `two lines of ${s.name}+${s.id}`);
    must(verifyLine(key, text, s.sig), `the signature of ${s.name}+${s.id} does not verify`);
    signed.add(key);
  }
  must(own.every((k) => signed.has(k)), 'a key of the log did not sign');
  const entry = Buffer.concat([utf8(`${type}\n`), Buffer.from(unhex(digest))]);
  must(same(rootOf(leafHash(entry), proof.index, Number(size), proof.path), unbase64(root)), 'the path does not lead to the root');
  const witnesses = [...signed].filter((k) => k.witness).map((k) => k.name);
  console.log(JSON.stringify({ ok: true, origin, size: Number(size), index: proof.index, witnesses }));
} catch (e) {
  if (!(e instanceof Fault)) throw e;
  console.error(e.message);
  process.exit(1);
}
