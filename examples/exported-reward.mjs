/**
 * @file Exports the reward, opens the export as another program would, and follows its gradient from a grey picture uphill.
 *
 *     node examples/exported-reward.mjs
 *
 * The folder that `exportReward` writes is plain ONNX: `laurel_reward.py` in it does the same from Python, with torch's autograd where wanted.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportReward, float32, loadReward, openDevice, TorchGenerator } from "laurel";

const STEPS = 10;
const prompt = "a red circle above a blue square";

const folder = await mkdtemp(join(tmpdir(), "laurel-example-"));
const device = openDevice();
const { manifest } = await exportReward({ out: join(folder, "reward"), size: { width: 96, height: 96 }, device });
console.log(`${manifest.files.length} files, ${manifest.combination.formula}`);

const reward = await loadReward(join(folder, "reward"), { device });
const shape = [1, 3, 96, 96];
const image = Float32Array.from(new TorchGenerator(0).randn(3 * 96 * 96), (value) => 0.5 + 0.05 * value);
for (let step = 0; step <= STEPS; step++) {
  const { scores, gradient } = await reward.gradient(prompt, float32(shape, image));
  console.log(`step ${step}: score ${scores[0]?.toFixed(3)}`);
  // uphill by the sign of the gradient, inside [0, 1]
  gradient.data.forEach((slope, i) => (image[i] = Math.min(1, Math.max(0, (image[i] ?? 0) + 0.01 * Math.sign(slope)))));
}
await reward.dispose();
await device.close();
await rm(folder, { recursive: true });
