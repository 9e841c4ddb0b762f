import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { segmentGradient } from "#laurel/autodiff/segments";
import * as g from "#laurel/graph/builder";
import { verify } from "#laurel/graph/verify";
import { openImageReward } from "#laurel/rewards/image-reward";
import { openDevice } from "#laurel/runtime/device";
import { TorchGenerator } from "#laurel/tensor/random";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { oneStepObjective, rewardPrefix } from "#laurel/training/finetune/reward-objective";
import { openTunedModel } from "#laurel/training/finetune/tuned-model";
import { createGradientProgram, type Objective, trainedParameters } from "#laurel/training/gradient-program";

const MODELS = fileURLToPath(new URL("../../models/demo", import.meta.url));
const BATCH = 2;
const device = openDevice({ threads: 2 });
afterAll(() => device.close());

/** The ReFL loss of the demo models, with all LoRA matrices drawn: as they start, half of the gradients are zero. */
async function demoObjective(): Promise<{ objective: Objective; feeds: Record<string, Tensor> }> {
  const targets = ["to_q", "to_k", "to_v", "to_out.0"];
  const train = { kind: "lora" as const, rank: 2, alpha: null, targets, textEncoder: null };
  const model = await openTunedModel(`${MODELS}/stable-diffusion`, { train, seed: 1 });
  const reward = await openImageReward(`${MODELS}/image-reward`, device);
  const hinge = { margin: 2, scale: 1 };
  const objective = oneStepObjective(model, [{ reward, weight: 1 }], { rows: BATCH, guidance: 1 }, hinge);
  const random = new TorchGenerator(11);
  const draw = (shape: readonly number[], scale = 1) =>
    float32(
      shape,
      random.randn(shape.reduce((a, b) => a * b, 1)).map((x) => x * scale),
    );
  const parameters = new Map([...model.start].map(([name, { shape }]) => [name, draw(shape, 0.05)]));
  const every = (value: number) => float32([BATCH, 1, 1, 1], new Float32Array(BATCH).fill(value));
  const { configs, size, tokenizer } = model;
  const feeds = {
    sample: draw([BATCH, configs.unet.inChannels, size.height, size.width]),
    conditioning: draw([BATCH, tokenizer.maxLength, configs.unet.crossAttentionWidth]),
    timestep: float32([BATCH], [150, 20]),
    inputScale: every(1),
    cleanSample: every(0.9),
    cleanOutput: every(-0.4),
    ...reward.network.textFeeds(rewardPrefix(reward), ["a red circle", "a blue square above a green circle"]).feeds,
  };
  return { objective: { ...objective, parameters }, feeds };
}

describe("a gradient in pieces, through denoiser, decoder and reward", () => {
  let objective: Objective;
  let feeds: Record<string, Tensor>;
  const fast = new Map<string, Float32Array>();
  let loss = Number.NaN;

  async function gradients(memory: "fast" | "balanced" | "low") {
    const program = await createGradientProgram(device, memory, objective, memory);
    const result = await program.run(feeds, "test");
    const found = new Map<string, Float32Array>();
    for (const name of program.parameters.keys())
      found.set(name, (await device.fetchBound(`gradient/${name}`)).data as Float32Array);
    await program.dispose();
    return { ...result, found };
  }

  beforeAll(async () => {
    ({ objective, feeds } = await demoObjective());
    for (const [name, value] of objective.parameters) await device.bind(name, value);
    const whole = await gradients("fast");
    for (const [name, values] of whole.found) fast.set(name, values);
    loss = whole.loss;
  }, 120_000);

  it.each(["balanced", "low"] as const)(
    "is that of one program with memory %s, and leaves nothing between the pieces",
    async (memory) => {
      const { found, loss: own } = await gradients(memory);
      expect(own).toBeCloseTo(loss, 5);
      expect([...found.keys()]).toEqual([...fast.keys()]);
      let [difference, whole] = [0, 0];
      for (const [name, expected] of fast) {
        const distance = Math.hypot(...expected.map((x, i) => x - found.get(name)![i]!));
        const norm = Math.hypot(...expected);
        // a small gradient between large ones: ONNX Runtime fuses other nodes in a piece than in the whole, and sums that nearly cancel round differently
        expect(distance / norm, name).toBeLessThan(1e-4);
        difference = Math.hypot(difference, distance);
        whole = Math.hypot(whole, norm);
      }
      expect(difference / whole).toBeLessThan(1e-5);
      await expect(device.fetchBound(`${memory}/value-0`)).rejects.toThrow("value-0 is not bound");
    },
    120_000,
  );

  it("passes the verifier in each of its pieces", () => {
    const targets = new Map([...trainedParameters("test", objective)].map(([name, value]) => [`d ${name}`, value]));
    const { loss: value, metrics = {}, cuts = [] } = objective;
    const request = { name: "pieces", loss: value, metrics, targets, cuts };
    expect(segmentGradient(request).map(({ graph }) => verify(graph).name)).toHaveLength(2 * (cuts.length + 1) - 1);
    const refined = segmentGradient({ ...request, refine: true });
    for (const { graph } of refined) verify(graph);
    expect(refined.length).toBeGreaterThan(12);
  });

  it("refuses a feed that no piece has", async () => {
    const program = await createGradientProgram(device, "strict", objective, "balanced");
    await expect(program.run({ ...feeds, extra: float32([1], [0]) }, "test")).rejects.toThrow(
      "strict: expected feeds of the loss, got extra",
    );
    await program.dispose();
  }, 120_000);
});

describe("a run frees what it is told to", () => {
  it("after it has read it", async () => {
    const double = await device.compile(g.graph("double", { y: g.mul(g.input("kept", "float32", [2]), 2) }));
    await double.bind("kept", float32([2], [1, 2]));
    const { y } = await double.run({}, { free: ["kept"] });
    expect([...(y!.data as Float32Array)]).toEqual([2, 4]);
    await expect(double.run({})).rejects.toThrow("kept: expected float32[2], got nothing fed or bound");
  });
});
