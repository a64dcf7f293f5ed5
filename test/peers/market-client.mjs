// A robot, a client and an operator of the marketplace in another language, written
// from docs/marketplace-reference.md alone and sharing nothing with the Go code:
//
//   ROBOT_MESH_TOKEN=… ROBOT_PORTAL_TOKEN=… ROBOT_ADMIN_TOKEN=… node market-client.mjs http://127.0.0.1:8089 ADDRESS [ORE-PROOF]
//
// The coordinator's rails must be simulated: there invoices are paid by themselves. With
// a file of `robotorq proof ore` the robot proves its work by ore, which takes the
// coordinator of the reserve that it comes from.
import { createHash, generateKeyPairSync, randomBytes, randomUUID, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [origin, payoutAddress, oreFile] = process.argv.slice(2);
const tokens = { mesh: process.env.ROBOT_MESH_TOKEN, portal: process.env.ROBOT_PORTAL_TOKEN, admin: process.env.ROBOT_ADMIN_TOKEN };
const must = (ok, what) => { if (!ok) throw new Error(what); };

// The headers of a signed request. The path is as it goes over the wire, without the query.
function signed(key, keyid, method, path, body, nonce = randomBytes(18).toString('base64url')) {
  const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
  const created = Math.floor(Date.now() / 1000);
  const params = `("@method" "@path" "content-digest");created=${created};expires=${created + 60};nonce="${nonce}";alg="ed25519";keyid="${keyid}"`;
  const base = `"@method": ${method}\n"@path": ${path}\n"content-digest": ${digest}\n"@signature-params": ${params}`;
  const signature = sign(null, Buffer.from(base), key).toString('base64');
  return { 'Content-Digest': digest, 'Signature-Input': `sig1=${params}`, Signature: `sig1=:${signature}:` };
}

async function ask(role, method, path, body, headers = {}) {
  const answer = await fetch(origin + path, {
    method, body, redirect: 'error',
    headers: { ...(role && { Authorization: `Bearer ${tokens[role]}` }), ...(body && { 'Content-Type': 'application/json' }), ...headers },
  });
  return { status: answer.status, type: answer.headers.get('content-type'), doc: await answer.json() };
}

async function done(...request) {
  const { status, type, doc } = await ask(...request);
  must(status === 200 && doc.ok === true && type === 'application/json', `${request[1]} ${request[2]}: ${status} ${JSON.stringify(doc)}`);
  return doc;
}

async function refused(status, code, ...request) {
  const got = await ask(...request);
  must(got.status === status && got.doc.code === code && got.doc.status === status && got.type === 'application/problem+json',
    `${request[1]} ${request[2]}: ${got.status} ${JSON.stringify(got.doc)}, want ${status} ${code}`);
}

async function until(what, look) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((wake) => setTimeout(wake, 200))) {
    const seen = await look();
    if (seen) return seen;
  }
  throw new Error(`${what} did not happen within a minute`);
}

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('ed25519').privateKey;
const agentId = `rover-${randomUUID()}`;
const rawKey = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url').toString('base64');
const asRobot = (path, doc, key = privateKey, nonce = undefined) => {
  const body = JSON.stringify(doc);
  return ['mesh', 'POST', path, body, signed(key, agentId, 'POST', path, body, nonce)];
};
const asClient = (path, doc, headers) => ['portal', 'POST', path, JSON.stringify(doc), headers];

// The robot registers. Its id is its key's from now on.
const registration = { agentId, payoutAddress, capabilities: ['camera', 'gps'], robotKind: 'rover', publicKey: rawKey };
await refused(401, 'bad_signature', ...asRobot('/robot/agents/register', registration, stranger));
const { agent } = await done(...asRobot('/robot/agents/register', registration));
must(agent.agentId === agentId && agent.payoutAddress === payoutAddress && agent.successCount === 0 && agent.failureCount === 0, JSON.stringify(agent));
await done('mesh', 'POST', '/robot/agents/heartbeat', JSON.stringify({ agentId }));

// The client posts a task, once for its key, and pays.
const order = {
  clientAccountId: 'alice', title: 'Photograph the bridge', description: 'From the north side – Nordseite.', taskKind: 'physical',
  resourceRequirements: ['camera'], amountSats: 100_000,
  proofSchema: { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object', required: ['photo'], properties: { photo: { type: 'string', pattern: '^sha256:[0-9a-f]+$' } } },
};
const once = { 'Idempotency-Key': randomUUID() };
const made = await done(...asClient('/robot/tasks', order, once));
const again = await done(...asClient('/robot/tasks', order, once));
must(again.task.taskId === made.task.taskId && again.invoice.paymentHash === made.invoice.paymentHash, 'the same key made a second task');
must(made.task.status === 'pending_funding' && made.task.rewardSats + made.task.coordinatorFeeSats === made.task.escrowSats, JSON.stringify(made.task));
must(/^[0-9a-f]{64}$/.test(made.invoice.paymentHash) && made.invoice.bolt11.startsWith('ln') && made.invoice.expiresAtMs > Date.now(), JSON.stringify(made.invoice));
const at = `/robot/tasks/${made.task.taskId}`;
const show = async (role = 'portal') => (await done(role, 'GET', at)).task;
await until('the funding', async () => (await show()).status === 'funded');

// The robot finds it, claims it and hands in its proof.
const found = await done('mesh', 'GET', `/robot/tasks/available?agentId=${agentId}`);
must(found.tasks.some((t) => t.taskId === made.task.taskId), 'the task is not listed');
await refused(401, 'token_missing', null, 'POST', `${at}/claim`, JSON.stringify({ agentId }));
await refused(401, 'bad_signature', 'mesh', 'POST', `${at}/claim`, JSON.stringify({ agentId }));
await refused(401, 'bad_signature', ...asRobot(`${at}/claim`, { agentId }, stranger));
const claim = asRobot(`${at}/claim`, { agentId });
must((await done(...claim)).task.claimedBy === agentId, 'claimed by somebody else');
await refused(401, 'nonce_used', ...claim);
await refused(409, 'task_not_claimable', ...asRobot(`${at}/claim`, { agentId }));
await refused(422, 'proof_schema_mismatch', ...asRobot(`${at}/proof`, { agentId, payload: { photo: 'a picture' } }));
const payload = { photo: 'sha256:0badcafe', where: 'Brücke', ...(oreFile && { oreProofs: [JSON.parse(readFileSync(oreFile))] }) };
must((await done(...asRobot(`${at}/proof`, { agentId, payload }))).task.status === 'proof_submitted', 'no proof');

// The client sees the proof and accepts it; robots see its digest alone.
const seen = await show();
must(JSON.stringify(seen.proofPayload) === JSON.stringify(payload), `the proof came as ${JSON.stringify(seen.proofPayload)}`);
must(seen.proofSha256 === createHash('sha256').update(JSON.stringify(payload)).digest('hex'), 'the digest of the proof');
const verdict = seen.oreVerdict;
must(oreFile ? verdict?.checked === 1 && verdict.valid === 1 && !verdict.faults : verdict === undefined, `the verdict on the ore: ${JSON.stringify(verdict)}`);
must((await show('mesh')).proofPayload === undefined, 'robots see the proof');
await refused(403, 'not_your_task', ...asClient(`${at}/settle`, { clientAccountId: 'mallory' }));
const settling = { 'Idempotency-Key': randomUUID() };
for (let i = 0; i < 2; i++) {
  must((await done(...asClient(`${at}/settle`, { clientAccountId: 'alice' }, settling))).task.status === 'settled', 'not settled');
}
await refused(409, 'task_not_proof_submitted', ...asClient(`${at}/settle`, { clientAccountId: 'alice' }));

// The operator pays it out; six blocks later it is final.
await refused(403, 'forbidden', 'mesh', 'POST', '/robot/sweep', '{}');
const swept = await done('admin', 'POST', '/robot/sweep', '{}');
must(swept.sweep.payouts.length === 1 && swept.sweep.payouts[0].amountSats === 98_000 && swept.sweep.payouts[0].address === payoutAddress, JSON.stringify(swept));
const earned = await until('the payout', async () => {
  const e = await done('mesh', 'GET', `/robot/agents/${agentId}/earnings`);
  return e.totalSwept === 98_000 && e.totalAccrued === 0 && e;
});
must(earned.earnings.length === 1 && earned.earnings[0].status === 'swept' && earned.earnings[0].earnedSats === 98_000 && earned.earnings[0].taskId === made.task.taskId
  && earned.earnings[0].sweepTxId === swept.sweep.txid, JSON.stringify(earned));
const { treasury } = await done('admin', 'GET', '/robot/treasury');
must(treasury.simulated === true, JSON.stringify(treasury));
console.log(`ok ${made.task.taskId} ${swept.sweep.txid}`);
