import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createSampler } from "#laurel/samplers/sampler";
import type { Reward } from "#laurel/rewards/contract";
import { openDevice } from "#laurel/runtime/device";
import { TorchGenerator } from "#laurel/tensor/random";
import { elementCount, float32, type Tensor } from "#laurel/tensor/tensor";
import { createDraftLoss } from "#laurel/training/finetune/draft";
import { Drawer } from "#laurel/training/finetune/drawer";
import { finetune, type FinetuneOptions, type FinetuneResult } from "#laurel/training/finetune/finetune";
import { noiseObjective } from "#laurel/training/finetune/noise-objective";
import type { GuideReward } from "#laurel/training/finetune/reward-objective";
import { type FinetuneSettings, finetuneSchema } from "#laurel/training/finetune/settings";
import type { TunedModel } from "#laurel/training/finetune/tuned-model";
import { createGradientProgram } from "#laurel/training/gradient-program";
import { createOptimizer, readBound } from "#laurel/training/optimizer";
import { bindRandom, lora, openDemo, openGuides, uniformNoise } from "./demo-model.js";

const MODULES = ["mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.attentions.0.proj_out"];
const PROMPTS = [{ prompt: "a red circle above a blue square", weight: 1 }, { prompt: "two green triangles", weight: 3 }]; // prettier-ignore
const device = openDevice({ threads: 1 });
let guides: GuideReward[];
beforeAll(async () => {
  guides = await openGuides(device);
});
afterAll(() => device.close());

const temporary = (): string => mkdtempSync(join(tmpdir(), "laurel-finetune-"));

const GUARDS = { every: 2, prompts: 2, imagesPerPrompt: 2, alarm: false };
const METHODS = {
  refl: { sampling: { steps: 3 }, from: 0.5, pretrain: { batchSize: 2, drawn: 3 } },
  draft: { sampling: { sampler: "dpmpp-2m", steps: 3, guidance: 2 }, lastSteps: 2, truncation: "random" },
  dpo: { drawn: { prompts: 2, imagesPerPrompt: 3 }, margin: 0 },
  sft: { drawn: { prompts: 2, imagesPerPrompt: 2 }, select: "weighted" },
} as const;

/** Settings of three small updates. */
function settingsOf(method: keyof typeof METHODS, changes: Record<string, unknown> = {}): FinetuneSettings {
  return finetuneSchema.parse({
    method,
    steps: 3,
    batchSize: 2,
    accumulate: 2,
    optimizer: { schedule: { type: "cosine", learningRate: 0.01, warmupSteps: 1 }, averageDecay: 0.9 },
    train: lora(MODULES),
    guards: GUARDS,
    checkpointEvery: 2,
    heldOut: [],
    ...METHODS[method],
    ...changes,
  });
}

async function run(settings: FinetuneSettings, options: Partial<FinetuneOptions> = {}): Promise<FinetuneResult> {
  const opened = await openDemo(settings.train);
  const model = { ...opened, defaults: { ...opened.defaults, steps: 2 } };
  return finetune({ device, model, settings, guides, heldOut: [], prompts: PROMPTS, ...options });
}

const lines = (directory: string, file: string): unknown[] =>
  readFileSync(join(directory, file), "utf8")
    .trim()
    .split("\n")
    .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0 }));

function expectSame(actual: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, { data }] of expected) expect(actual.get(name)?.data, name).toEqual(data);
}

describe("a fine-tuning run", () => {
  test.each(Object.keys(METHODS) as (keyof typeof METHODS)[])(
    "of %s that was stopped after an update and goes on has the bits of one that was not",
    async (method) => {
      const settings = settingsOf(method);
      const [whole, parts] = [temporary(), temporary()];
      const straight = await run(settings, { directory: whole });
      expect(straight).toMatchObject({ status: "finished", step: 3 });
      expect(await run(settings, { directory: parts, stopAfter: 1 })).toMatchObject({ status: "stopped", step: 1 });
      const resumed = await run(settings, { directory: parts, resume: true });
      expectSame(resumed.parameters, straight.parameters);
      expect(lines(parts, "log.jsonl")).toEqual(lines(whole, "log.jsonl"));
      expect(lines(parts, "validation.jsonl")).toEqual(lines(whole, "validation.jsonl"));
      expect(lines(whole, "log.jsonl")).toHaveLength(3);
      expect(straight.validations.map(({ step }) => step)).toEqual([0, 2, 3]);
      expect(resumed.kept).toEqual(straight.kept);
      expect(readdirSync(parts).filter((name) => name.startsWith("best-"))).toEqual(
        straight.kept?.step === 0 ? [] : [`best-${straight.kept?.step}.safetensors`],
      );
    },
  );

  test("aborted in the middle of a draw keeps what it has, and goes on with the same bits", async () => {
    const settings = settingsOf("draft", { guards: null, accumulate: 1 });
    const straight = await run(settings);
    const directory = temporary();
    const controller = new AbortController();
    const original = TorchGenerator.prototype.randn;
    let draws = 0;
    // the noise of the second update's first picture: the draw has begun
    TorchGenerator.prototype.randn = function (count) {
      if (++draws === 3) controller.abort();
      return original.call(this, count);
    };
    const stopped = await run(settings, { directory, signal: controller.signal }).finally(() => {
      TorchGenerator.prototype.randn = original;
    });
    expect(stopped).toMatchObject({ status: "stopped", step: 1, path: null });
    expectSame((await run(settings, { directory, resume: true })).parameters, straight.parameters);
  });

  test("stops at a value that is not finite, names the first tensor, and leaves the checkpoint as it was", async () => {
    const settings = settingsOf("sft", { guards: null, drawn: { prompts: 1, imagesPerPrompt: 1 }, checkpointEvery: 1 });
    const opened = await openDemo(settings.train);
    const names = [...opened.start.keys()];
    const start = new Map(opened.start);
    const { shape } = start.get(names[2]!)!;
    start.set(names[2]!, float32(shape, new Float32Array(elementCount(shape)).fill(Number.NaN)));
    await expect(run(settings, { model: { ...opened, start } })).rejects.toThrow(
      `sft, step 0: expected a finite loss, got NaN; the first bad tensor is "${names[2]}"`,
    );
    const directory = temporary();
    await run(settings, { directory, stopAfter: 1 });
    const kept = readFileSync(join(directory, "checkpoint.safetensors"));
    const exploding = settingsOf("sft", {
      ...settings,
      checkpointEvery: 25,
      optimizer: { schedule: { type: "constant", learningRate: 3e38 }, clipNorm: null, averageDecay: 0.9 },
    });
    await expect(run(exploding, { directory, resume: true })).rejects.toThrow(
      /expected finite gradients, got others in "unet|expected a finite loss, .* the largest is \S+ in "unet/,
    );
    expect(readFileSync(join(directory, "checkpoint.safetensors")).equals(kept)).toBe(true);
  });

  test("trains all weights, and without the choice of the guards keeps the last ones", async () => {
    const settings = settingsOf("sft", {
      train: { kind: "full" },
      steps: 2,
      guards: { ...GUARDS, every: 1, keepBest: false },
      optimizer: { schedule: { type: "constant", learningRate: 1e-3 } },
    });
    const model = await openDemo(settings.train);
    const result = await run(settings, { guides });
    expect(result.kept?.step).toBe(2);
    expect(result.parameters.size).toBe(model.start.size);
    const changed = [...result.parameters].filter(([name, { data }]) => data.some((x, i) => x !== model.start.get(name)!.data[i])); // prettier-ignore
    expect(changed.length).toBe(model.start.size);
    expect(result.validations.map(({ divergence }) => divergence! > 0)).toEqual([false, true, true]);
  });
});

/** Scores that go from validation to validation as `means` say, a little apart from each other. */
function scripted(name: string, means: readonly number[], perValidation: number): Reward {
  let scored = 0;
  return Object.assign(Object.create(guides[0]!.reward) as Reward, {
    name,
    score: (_: string, images: readonly unknown[]) =>
      Promise.resolve({
        scores: images.map(() => means[Math.floor(scored / perValidation)]! + 0.01 * (scored++ % perValidation)),
        warnings: [],
      }),
  });
}

test.each([true, false])("an alarm stops the run and keeps the best before it, with a folder: %s", async (folder) => {
  const settings = settingsOf("draft", { guards: { ...GUARDS, every: 1, alarm: true, diversityFloor: null } });
  const guide = scripted("image-reward", [0, 1, 2, 3], 4) as GuideReward["reward"];
  const heldOut = [scripted("held-out", [0, 0.1, -1, -2], 4)];
  const seen: ReadonlyMap<string, Tensor>[] = [];
  const directory = folder ? temporary() : undefined;
  const events = {
    onValidation: () => void readBound(device, names).then((now) => seen.push(now)),
  };
  const names = [...(await openDemo(settings.train)).start.keys()];
  const result = await run(settings, { guides: [{ reward: guide, weight: 1 }], heldOut, directory, events });
  expect(result).toMatchObject({ status: "alarm", step: 2, kept: { step: 1 } });
  expect(result.reason).toContain("reward hacking: held-out held-out fell");
  // averaged parameters are what a validation sees and what is kept
  expectSame(new Map([...result.parameters].sort()), new Map([...seen[1]!].sort()));
});

test("a text encoder in training is sampled with as it is now, and the base without it", async () => {
  const model = await openDemo(lora(MODULES, ["text_model.encoder.layers.2.mlp.fc2"]));
  const drawer = new Drawer(device, model);
  for (const [name, value] of model.start) await device.bind(name, value);
  const before = await drawer.conditioning(["two green triangles"]);
  await bindRandom(device, model, 1, 0.1);
  const after = await drawer.conditioning(["two green triangles"]);
  const base = await drawer.conditioning(["two green triangles"], "base");
  expect(after.data).not.toEqual(before.data);
  expect(base.data).toEqual(before.data);
  await drawer.dispose();
});

test.each([
  ["ddpm", 4],
  ["dpmpp-sde", 3],
] as const)(
  "the picture that %s's last two differentiated evaluations end in is the one it draws",
  async (name, steps) => {
    const settings = settingsOf("draft", { sampling: { sampler: name, steps }, lastSteps: 2, truncation: "fixed" });
    const model = await openDemo(settings.train);
    await bindRandom(device, model, 5, 0.05);
    const drawer = new Drawer(device, model);
    const pickPrompt = (uniform: number) => PROMPTS[uniform < 0.5 ? 0 : 1]!;
    const context = { device, model, drawer, guides, memory: "fast", pickPrompt, batchSize: 2, signal: undefined, warn: () => undefined } as const; // prettier-ignore
    const loss = await createDraftLoss(context, settings as Extract<FinetuneSettings, { method: "draft" }>);
    const { metrics } = await loss.gradient(new TorchGenerator(9), "draft");
    const generator = new TorchGenerator(9);
    const prompts = Array.from(generator.uniform(2), (uniform) => pickPrompt(uniform).prompt);
    const seeds = Array.from(generator.randint(0, 2 ** 31, 2));
    const states = await drawer.draw({ prompts, seeds, sampler: createSampler(name, model.scheduler, steps), guidance: 1 }); // prettier-ignore
    const pictures = await drawer.decode(states.map(({ latents }) => latents));
    const scores = await Promise.all(prompts.map((prompt, i) => guides[0]!.reward.score(prompt, [pictures[i]!])));
    // the pictures are rounded to 8 bits
    expect(Math.abs(metrics["reward/image-reward"]! - (scores[0]!.scores[0]! + scores[1]!.scores[0]!) / 2)).toBeLessThan(0.02); // prettier-ignore
    await loss.dispose();
    await drawer.dispose();
  },
);

test("two gradients of one row each, accumulated, update as one of both rows", async () => {
  const model = await openDemo(lora(MODULES));
  const shape = [2, 8, 8, 8];
  const width = model.configs.unet.crossAttentionWidth;
  const length = model.tokenizer.maxLength;
  const all = {
    sample: float32(shape, uniformNoise(1, 1024)),
    target: float32(shape, uniformNoise(2, 1024)),
    timestep: float32([2], [100, 700]),
    weight: float32([2], [1, 2]),
    conditioning: float32([2, length, width], uniformNoise(3, 2 * length * width)),
  };
  const row = (i: number): Record<string, Tensor> =>
    Object.fromEntries(
      Object.entries(all).map(
        ([
          name,
          {
            shape: [, ...rest],
            data,
          },
        ]) => [name, float32([1, ...rest], data.slice((i * data.length) / 2, ((i + 1) * data.length) / 2))],
      ),
    );
  const updated = async (rows: number, batches: readonly Record<string, Tensor>[]) => {
    await bindRandom(device, model, 3, 0.05);
    const program = await createGradientProgram(device, "noise", noiseObjective(model as TunedModel, rows));
    const schedule = { type: "constant", learningRate: 0.01 } as const;
    const optimizer = await createOptimizer(device, "noise", program.parameters, { schedule, clipNorm: 0.1, epsilon: 1e-4 }); // prettier-ignore
    for (const [i, feeds] of batches.entries()) {
      await program.run(feeds, "noise");
      if (batches.length > 1) await optimizer.accumulate(i === 0);
    }
    const { gradientNorm } = await optimizer.step(0, 1, batches.length);
    const parameters = await readBound(device, [...program.parameters.keys()]);
    await optimizer.dispose();
    await program.dispose();
    return { gradientNorm, parameters };
  };
  const [one, two] = [await updated(2, [all]), await updated(1, [row(0), row(1)])];
  expect(two.gradientNorm / one.gradientNorm).toBeCloseTo(1, 5);
  for (const [name, { data }] of one.parameters)
    data.forEach((value, i) => expect(two.parameters.get(name)?.data[i]).toBeCloseTo(Number(value), 5));
});

describe("what lies in a run's folder", () => {
  test("is refused where it is another run's or damaged, and a torn last line is left out", async () => {
    const settings = settingsOf("sft");
    const directory = temporary();
    await run(settings, { directory, stopAfter: 2 });
    const wider = settingsOf("sft", { train: lora(MODULES, [], 3) });
    await expect(run(wider, { directory, resume: true })).rejects.toThrow(
      /checkpoint\.safetensors: expected the tensors of this run, got "unet\.mid_block\S+lora_B\.default\.weight" as float32 \[160,2\] instead of \[160,3\]/,
    );
    const others = settingsOf("sft", { train: lora(MODULES.slice(1)) });
    await expect(run(others, { directory, resume: true })).rejects.toThrow(/got another, "/);
    await expect(run(settingsOf("draft"), { directory, resume: true })).rejects.toThrow(
      /expected a checkpoint of "finetune-draft-lora", got one of "finetune-sft-lora"/,
    );
    const validation = join(directory, "validation.jsonl");
    const good = readFileSync(validation, "utf8");
    writeFileSync(validation, good.slice(0, -20));
    const again = await run(settings, { directory, resume: true, stopAfter: 0 });
    expect(again.validations.map(({ step }) => step)).toEqual([0, 2]);
    expect(readFileSync(validation, "utf8")).toBe(good);
    writeFileSync(validation, good.slice(good.indexOf("\n") + 1));
    await expect(run(settings, { directory, resume: true })).rejects.toThrow(
      /validation\.jsonl:1: expected a validation of the base \(step 0\), got \{"step":2/,
    );
    writeFileSync(validation, '{"step":0,"scores":7}\n');
    await expect(run(settings, { directory, resume: true })).rejects.toThrow(
      /validation\.jsonl:1: expected a validation/,
    );
    writeFileSync(validation, good);
    const reference = join(directory, "reference.safetensors");
    const bytes = readFileSync(reference);
    writeFileSync(reference, bytes.subarray(0, bytes.length - 8));
    await expect(run(settings, { directory, resume: true })).rejects.toThrow(/reference\.safetensors/);
    writeFileSync(reference, readFileSync(join(directory, "checkpoint.safetensors")));
    await expect(run(settings, { directory, resume: true })).rejects.toThrow(
      /reference\.safetensors: expected the pictures that this run learns from .* got no prompts: remove it, and they are drawn again/,
    );
  });
});
