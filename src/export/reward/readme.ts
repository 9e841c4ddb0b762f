/** @file README.md of a bundle. */

import type { ManifestPort, RewardManifest } from "./manifest.js";

/** What a person needs to use a bundle without reading its manifest. */
export function bundleReadme(manifest: Omit<RewardManifest, "files">): string {
  const { picture, rewards, models, weights, onnx, combination, producer, name } = manifest;
  const shape = (port: ManifestPort): string => `${port.dtype} [${port.shape.join(", ")}]`;
  const list = (ports: readonly ManifestPort[]): string =>
    ports.map((port) => `\`${port.name}\` ${shape(port)}`).join(", ");
  const where =
    weights.file === null ? "inside of each model" : `once, in \`${weights.file}\`; keep it beside the models`;
  return `# ${name}, a differentiable reward

How well a picture suits a prompt, and how that changes with the picture. Plain ONNX (opset ${onnx.opset}, no other operators), made by Laurel ${producer.laurel}.

| model | takes | gives |
| --- | --- | --- |
| \`${models.score.file}\` | ${list(models.score.inputs)} | ${list(models.score.outputs)} |
| \`${models.gradient.file}\` | ${list(models.gradient.inputs)} | ${list(models.gradient.outputs)} |

- \`${picture.name}\`: ${picture.meaning}. Layout ${picture.layout}, for pictures of ${picture.width} x ${picture.height}.
- \`upstream\`: what each score's gradient is multiplied with; ones for the scores' own.
- \`${combination.formula}\`, without normalisation: each reward in its own unit (${rewards.map((reward) => `${reward.name} about ${reward.range.join(" to ")}`).join(", ")}).
- Weights lie ${where}, as ${weights.dtypes.join(" and ")}; everything is computed in float32.
- Prompts become ids by \`tokenizers/\`; \`laurel_reward.py\` does it without other packages.
- \`manifest.json\` has names, shapes, digests of all files and a known answer.

## Python

\`pip install numpy onnxruntime\`, then

\`\`\`python
from laurel_reward import Reward

reward = Reward(".")
scores = reward.score(prompts, ${picture.name})                # ${picture.name}: numpy float32 [N, ...]
scores, gradient = reward.gradient(prompts, ${picture.name})
loss = -reward.torch(prompts, tensor).sum()           # torch.Tensor that requires grad; needs torch
\`\`\`

\`python laurel_reward.py\` checks the bundle against its known answer; \`python example.py\` raises the reward of a picture step by step (needs torch).

## TypeScript

\`\`\`ts
import { loadReward } from "laurel";

const reward = await loadReward(".");
const { scores, gradient } = await reward.gradient(prompt, tensor);
\`\`\`

\`node example.mjs\` is the same loop as \`example.py\`.
`;
}
