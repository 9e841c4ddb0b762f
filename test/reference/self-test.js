/** @file Records what the demo models give in `laurel doctor`, to be run after they have changed: npm run build && node test/reference/self-test.js */

import { writeFile } from "node:fs/promises";
import { demoDigests, runSelfTest } from "../../dist/installation/self-test.js";
import { EMBEDDED_MODELS, EMBEDDED_REFERENCE } from "../../dist/pipeline/package-info.js";
import { runtimeVersions } from "../../dist/pipeline/versions.js";
import { openDevice } from "../../dist/runtime/device.js";

const device = openDevice();
const { score, picture } = await runSelfTest(device);
await device.close();
const reference = {
  command: "node test/reference/self-test.js",
  versions: runtimeVersions(),
  digests: await demoDigests(EMBEDDED_MODELS),
  score,
  picture,
};
await writeFile(EMBEDDED_REFERENCE, `${JSON.stringify(reference, null, 2)}\n`);
