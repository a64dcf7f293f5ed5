// Verifies signatures with @noble/post-quantum, then signs with the same private
// keys. Argument: a node_modules directory. Input: JSON of
// [{alg, public, private, message, signature}] in hex; output: the same with
// Node's signatures. Exits 1 when a signature does not verify.
import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const base = pathToFileURL(path.resolve(process.argv[2], '@noble/post-quantum') + '/').href;
const { falcon512, falcon512padded } = await import(base + 'falcon.js');
const { slh_dsa_sha2_128s } = await import(base + 'slh-dsa.js');
const { ml_dsa65 } = await import(base + 'ml-dsa.js');

const bytes = (s) => new Uint8Array(Buffer.from(s, 'hex'));
const hex = (b) => Buffer.from(b).toString('hex');
const schemes = {
  'falcon-512-padded': falcon512padded,
  'slh-dsa-sha2-128s': slh_dsa_sha2_128s,
  'ml-dsa-65': ml_dsa65,
};
const input = JSON.parse(readFileSync(0, 'utf8'));
for (const v of input) {
  const scheme = schemes[v.alg];
  if (!scheme.verify(bytes(v.signature), bytes(v.message), bytes(v.public))) {
    console.error(`${v.alg}: the signature does not verify`);
    process.exit(1);
  }
  if (v.alg === 'falcon-512-padded') {
    let unpadded = false;
    try { unpadded = falcon512.verify(bytes(v.signature), bytes(v.message), bytes(v.public)); } catch { /* refused by its length */ }
    if (unpadded) {
      console.error('falcon512 (unpadded) takes a padded signature');
      process.exit(1);
    }
  }
  const secret = v.alg === 'ml-dsa-65' ? ml_dsa65.keygen(bytes(v.private)).secretKey : bytes(v.private);
  v.signature = hex(scheme.sign(bytes(v.message), secret));
}
console.log(JSON.stringify(input));
