// Checks every digest, tree and signature of a document made by
// `robotorq proof export`: node check-export.mjs FILE [ROOT-PIN-HEX]
import { readFileSync } from 'node:fs';
import {
  algorithmsOf, big, cbor, checkCheckpoint, checkKey, checkSigned, digestOf, hex, leafHash, must,
  openEnvelope, oreRoot, parseLogProof, rootOf, same, sha256, treeHash, unbase64, unhex, utf8,
} from './lib.mjs';

const T = (name) => `application/vnd.robotorq.${name}.v1+cbor`;
const J = (name) => `application/vnd.robotorq.${name}.v1+json`;
const zeros = new Uint8Array(32);
const doc = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const pin = process.argv[3];
const counts = {};
const count = (what, n = 1) => { counts[what] = (counts[what] ?? 0) + n; };

// RFC 8785: what a JSON artefact must be byte for byte (integers and ASCII keys only here).
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical).join(',')}]`
  : v && typeof v === 'object' ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`).join(',')}}`
    : JSON.stringify(v);
function json(env) {
  const text = Buffer.from(env.payload).toString('utf8');
  const value = JSON.parse(text);
  must(canonical(value) === text, `${env.type} is not in RFC 8785 form`);
  return value;
}

// Charters: version 1 onwards, each naming the one before.
let previous = '0'.repeat(64); let charter; let rootsBefore = null; let pinned = !pin;
for (const [i, envelope] of doc.charters.entries()) {
  const env = openEnvelope(envelope);
  must(env.type === J('charter'), 'charter type');
  const c = json(env);
  must(c.version === i + 1 && c.previous === previous, 'charter chain');
  c.keys = c.keys.map(checkKey);
  const signers = (keys) => [...new Set(keys.filter((k) => k.role === 'root').map((k) => k.name))].filter((name) => {
    try { checkSigned(env, keys, 'root', name, c.issued_ms); return true; } catch { return false; }
  });
  must(signers(c.keys).length >= c.threshold, 'charter threshold');
  if (rootsBefore) must(signers(rootsBefore.keys).length >= rootsBefore.threshold, 'threshold of the charter before');
  if (pin) pinned ||= c.keys.some((k) => k.role === 'root' && hex(sha256(utf8(k.alg), [0], k.pub)) === pin);
  previous = hex(env.digest); rootsBefore = c; charter = c; count('charters');
}
must(pinned, 'no pinned root signed a charter');
const origin = charter.name;

// Enrolments: robots admitted by a registrar.
const robots = {};
for (const envelope of doc.enrolments) {
  const env = openEnvelope(envelope);
  must(env.type === J('enrolment'), 'enrolment type');
  const e = json(env);
  must(e.origin === origin, 'enrolment origin');
  checkSigned(env, charter.keys, 'registrar', null, e.issued_ms);
  e.keys = e.keys.map(checkKey);
  if (e.robot) (robots[e.robot] ??= []).push(e);
  count('enrolments');
}

const contracts = {};
for (const envelope of doc.contracts) {
  const env = openEnvelope(envelope);
  must(env.type === T('contract'), 'contract type');
  const [id, , , assigned, digger, refinery, W, , , , , funded, deadline] = cbor(env.payload);
  must(id.startsWith(`${origin}#`) && W % 3600 === 0, 'contract id and work');
  checkSigned(env, charter.keys, 'trust', null, funded);
  contracts[id] = { assigned, digger, refinery, W, funded, deadline };
  count('contracts');
}

// Reports: signed by their robots, their ore derived again.
const reports = {};
for (const envelope of doc.reports) {
  const env = openEnvelope(envelope);
  must(env.type === T('report'), 'report type');
  const [robot, contract, seq, prev, readings] = cbor(env.payload);
  must(contracts[contract]?.assigned.includes(robot), 'report: contract not assigned to the robot');
  const start = readings[0][0]; const end = readings[readings.length - 1][1];
  const enrolment = robots[robot]?.filter((e) => e.issued_ms <= start).sort((a, b) => b.version - a.version)[0];
  must(enrolment, `report of unenrolled robot ${robot}`);
  checkSigned(env, enrolment.keys, 'robot', robot, end);
  let micro = 0n; let tokens = 0n; let active = 0n; let last = 0;
  for (const [from, to, energy, used] of readings) {
    must(from >= last && to > from && to - from <= 3600000, 'reading order');
    must(big(energy) * 100n <= 105n * big(enrolment.watts) * big(to - from), 'reading above the rating');
    micro += big(energy) * big(used) * 1000000n / big(to - from);
    tokens += big(used); active += big(to - from); last = to;
  }
  must(start >= contracts[contract].funded && end <= contracts[contract].deadline, 'report outside its contract');
  must(tokens <= (big(enrolment.tokens_per_second) * active + 999n) / 1000n, 'tokens above the bond');
  reports[hex(env.digest)] = { robot, contract, seq, prev, micro, start, end };
  count('reports');
}

// Batches: what the digger accepted; never more than a report derives.
const accepted = {};
for (const envelope of doc.batches) {
  const env = openEnvelope(envelope);
  must(env.type === T('batch'), 'batch type');
  const [from, digger, , , entries, sealed] = cbor(env.payload);
  must(from === origin, 'batch origin');
  checkSigned(env, charter.keys, 'digger', digger, sealed);
  for (const [digest, ore, carry, rule] of entries) {
    const r = reports[hex(digest)];
    if (!r) continue; // of another certificate
    must(contracts[r.contract].digger === digger, 'digger of another contract');
    const rest = big(ore) * 1000000n + big(carry) - r.micro;
    must(rest < 1000000n, 'batch accepts more ore than the report holds');
    must(rule !== '' || rest >= 0n, 'batch accepts less ore without naming a rule');
    accepted[hex(digest)] = ore;
  }
  count('batches');
}
for (const d of Object.keys(reports)) must(accepted[d] !== undefined, `report ${d} in no batch`);

// The certificate and its thousand ingots.
const payload = unbase64(doc.certificate.payload);
const [cOrigin, mint, serial, , root, work, first, last, issued] = cbor(payload);
must(cOrigin === origin, 'certificate origin');
must(doc.ingots.length === 1000, 'a certificate has 1,000 ingots');
const records = doc.ingots.map(unhex);
must(same(treeHash(records.map(leafHash)), root), 'certificate root');
const done = {}; const seen = new Set(); let lo = Infinity; let hi = 0; const place = {}; let order = ['', 0];
for (const bytes of records) {
  const [refinery, seq, contract, ingotRoot, spans] = cbor(bytes);
  must(contracts[contract]?.refinery === refinery, 'refinery of another contract');
  must(refinery > order[0] || (refinery === order[0] && seq > order[1]), 'ingots out of order');
  order = [refinery, seq];
  let size = 0;
  for (const [digest, from, n] of spans) {
    const d = hex(digest); const r = reports[d];
    must(r && r.contract === contract, 'span of a report that is not here or of another contract');
    must(n >= 1 && from + n <= accepted[d], 'span beyond the accepted ore');
    for (const [a, b] of (place[d] ??= [])) must(from >= b || from + n <= a, 'ore used twice');
    place[d].push([from, from + n]);
    lo = Math.min(lo, r.start); hi = Math.max(hi, r.end); size += n;
  }
  must(size === 3600, 'an ingot has 3,600 ore');
  must(same(oreRoot(spans), ingotRoot), `root of ingot ${refinery}/${seq}`);
  seen.add(`${refinery}/${seq}`);
  done[contract] = (done[contract] ?? 0) + 3600;
  count('ingots'); count('ore', 3600);
}
must(seen.size === 1000, 'an ingot twice');
must(lo === first && hi === last && last <= issued, 'certificate times');
must(work.length === Object.keys(done).length && work.every(([c, o]) => done[c] === o), 'certificate work');

// Pours: each ingot lies in exactly one.
const left = new Map(records.map((bytes) => { const [r, s] = cbor(bytes); return [`${r}/${s}`, bytes]; }));
for (const pour of doc.pours) {
  const env = openEnvelope(pour.envelope);
  must(env.type === T('pour'), 'pour type');
  const [pOrigin, refinery, , , firstSeq, n, pourRoot, sealed] = cbor(env.payload);
  must(pOrigin === origin && firstSeq === pour.first && sealed <= issued, 'pour');
  checkSigned(env, charter.keys, 'refinery', refinery, sealed);
  const leaves = [];
  for (let s = firstSeq; s < firstSeq + n; s++) {
    const key = `${refinery}/${s}`;
    if (left.has(key)) { leaves.push(leafHash(left.get(key))); left.delete(key); } else {
      must(pour.others[s], `ingot ${key} missing from its pour`);
      leaves.push(unhex(pour.others[s]));
    }
  }
  must(same(treeHash(leaves), pourRoot), 'pour root');
  count('pours');
}
must(left.size === 0, 'an ingot in no pour');

// The run and the log.
const run = openEnvelope(doc.certificate.run);
const [rOrigin, rMint, , , firstSerial, size, runRoot, sealed] = cbor(run.payload);
must(rOrigin === origin && rMint === mint && serial === firstSerial + doc.certificate.index, 'run');
checkSigned(run, charter.keys, 'mint', mint, sealed);
const certificateDigest = digestOf(T('certificate'), payload);
must(same(rootOf(leafHash(certificateDigest), doc.certificate.index, size, doc.certificate.path.map(unhex)), runRoot), 'run root');
const proof = parseLogProof(doc.log.proof);
must(doc.log.origin === origin && proof.checkpoint === doc.log.checkpoint, 'log origin and checkpoint');
const head = checkCheckpoint(doc.log.checkpoint, origin, charter.keys);
const entry = Buffer.concat([utf8(`${run.type}\n`), Buffer.from(run.digest)]);
must(same(rootOf(leafHash(entry), proof.index, head.size, proof.path), head.root), 'log inclusion');
must(algorithmsOf('mint').length === 2 && !same(certificateDigest, zeros), 'sanity');

console.log(JSON.stringify({ ok: true, origin, serial, digest: hex(certificateDigest), log_index: proof.index, checked: counts }));
