import { existsSync, mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { add, div, gemm, input, mul, parameter, relu, sub } from "#laurel/graph/builder";
import type { Device } from "#laurel/runtime/device";
import { openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { TorchGenerator } from "#laurel/tensor/random";
import { loadCheckpoint } from "#laurel/training/checkpoint";
import { meanOf, meanSquaredError } from "#laurel/training/losses";
import type { Recipe } from "#laurel/training/loop";
import { train } from "#laurel/training/loop";
import kernel, { slot } from "#laurel/training/optimizer-kernel";
import type { StepResult } from "#laurel/training/optimizer-kernel";
import { formatDuration, formatStanding } from "#laurel/training/progress";
import { averageDecayAt, learningRateAt } from "#laurel/training/schedule";

const device = openDevice({ threads: 1 });
afterAll(() => device.close());

const temporary = (): string => mkdtempSync(join(tmpdir(), "laurel-training-"));

/** A small regression: y = sin of a fixed projection, learnt by one hidden layer. Noise comes from the saved generator, data from the cursor. */
function regression(changes: Partial<Recipe> = {}): Recipe {
  const [w1, b1, w2] = [parameter("w1", [16, 3]), parameter("b1", [16]), parameter("w2", [1, 16])];
  const hidden = relu(gemm(input("x", "float32", ["N", 3]), w1, b1, { transB: true }));
  const loss = meanSquaredError(gemm(hidden, w2, undefined, { transB: true }), input("y", "float32", ["N", 1]));
  const generator = new TorchGenerator(5);
  const parameters = new Map<string, Tensor>([
    ["w1", float32([16, 3], generator.randn(48))],
    ["b1", float32([16], generator.randn(16))],
    [
      "w2",
      float32(
        [1, 16],
        generator.randn(16).map((x) => 0.2 * x),
      ),
    ],
  ]);
  return {
    task: "regression",
    objective: { loss, metrics: { twice: mul(loss, 2) }, parameters },
    optimizer: {
      schedule: { type: "cosine", learningRate: 0.03, warmupSteps: 5 },
      weightDecay: 0.01,
      clipNorm: 1,
      averageDecay: 0.95,
    },
    steps: 40,
    batchSize: 8,
    seed: 11,
    batch(cursor, noise) {
      const x = new TorchGenerator(cursor).randn(24);
      const y = Float32Array.from({ length: 8 }, (_, i) => Math.sin((x[3 * i] as number) + (x[3 * i + 1] as number)));
      const jitter = noise.randn(8);
      return {
        x: float32([8, 3], x),
        y: float32(
          [8, 1],
          y.map((value, i) => value + 0.01 * (jitter[i] as number)),
        ),
      };
    },
    ...changes,
  };
}

describe("a training run", () => {
  it("lowers the loss and logs one line per logged step", async () => {
    const directory = temporary();
    const result = await train(device, regression(), { directory, logEvery: 10 });
    expect(result).toMatchObject({ step: 40, steps: 40, finished: true });
    expect(result.lastLoss).toBeLessThan(0.5 * result.firstLoss);
    const lines = readFileSync(join(directory, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(lines.map(({ step }) => step)).toEqual([10, 20, 30, 40]);
    expect(lines[0]?.twice).toBeCloseTo(2 * (lines[0]?.loss ?? 0), 5);
    expect(lines[3]).toMatchObject({
      samples: 320,
      learningRate: expect.closeTo(0.03 * 0.5 * (1 + Math.cos((Math.PI * 34) / 35)), 8) as number,
    });
    expect(readdirSync(directory).sort()).toEqual(["checkpoint.safetensors", "log.jsonl"]);
  });

  it("stopped, killed and resumed, gives the bits of an undisturbed run", async () => {
    const straight = await train(device, regression(), { directory: temporary() });

    const directory = temporary();
    const first = openDevice({ threads: 1 });
    const stopped = await train(first, regression(), { directory, stopAfter: 17, checkpointEvery: 5 });
    expect(stopped).toMatchObject({ step: 17, finished: false });
    process.kill((first as Device & { pid: number }).pid, "SIGKILL");
    await first.close();

    const second = openDevice({ threads: 1 });
    const resumed = await train(second, regression(), { directory, resume: true });
    await second.close();
    expect(resumed).toMatchObject({ step: 40, finished: true });
    for (const [name, tensor] of straight.parameters) {
      expect(resumed.parameters.get(name)?.data, name).toEqual(tensor.data);
    }
    const steps = readFileSync(join(directory, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { step: number }).step);
    expect(steps).toEqual([10, 20, 30, 40]);
  });

  it("killed between checkpoints, goes on from the last one", async () => {
    const straight = await train(device, regression());
    const directory = temporary();
    const first = openDevice({ threads: 1 });
    let batches = 0;
    const killed = regression();
    const dying: Recipe = {
      ...killed,
      batch(cursor, generator) {
        batches += 1;
        if (batches === 14) process.kill((first as Device & { pid: number }).pid, "SIGKILL");
        return killed.batch(cursor, generator);
      },
    };
    await expect(train(first, dying, { directory, checkpointEvery: 5 })).rejects.toThrow();
    await first.close();
    const { state } = await loadCheckpoint(join(directory, "checkpoint.safetensors"), "regression");
    expect(state).toMatchObject({ step: 10, cursor: 80 });
    const resumed = await train(device, regression(), { directory, resume: true });
    expect(resumed.parameters.get("w1")?.data).toEqual(straight.parameters.get("w1")?.data);
  });

  it("accumulates: two half batches give the update of the whole one", async () => {
    const whole = regression({ steps: 3 });
    const halves = regression({
      steps: 3,
      accumulate: 2,
      batchSize: 4,
      batch(cursor) {
        const start = cursor % 8;
        const { x, y } = regression().batch(cursor - start, new TorchGenerator(0)) as Record<"x" | "y", Tensor>;
        const part = (tensor: Tensor, width: number): Tensor =>
          float32([4, width], (tensor.data as Float32Array).slice(start * width, (start + 4) * width));
        return { x: part(x, 3), y: part(y, 1) };
      },
    });
    const fixedNoise: Recipe = { ...whole, batch: (cursor) => whole.batch(cursor, new TorchGenerator(0)) };
    const [one, two] = [await train(device, fixedNoise), await train(device, halves)];
    for (const [name, tensor] of one.parameters) {
      const other = two.parameters.get(name)?.data as Float32Array;
      (tensor.data as Float32Array).forEach((value, i) => expect(other[i]).toBeCloseTo(value, 5));
    }
  });

  it("names the first parameter whose gradient is not finite and keeps the last checkpoint", async () => {
    const x = input("x", "float32", ["N", 1]);
    const [good, bad] = [parameter("good", [1]), parameter("later.bad", [1])];
    // d/d bad of x / bad at bad = 0 with x = 0: the loss is finite through the subtraction of equal halves.
    const loss = add(meanOf(mul(x, good)), meanOf(sub(div(1, bad), div(1, bad))));
    const recipe = regression({
      steps: 2,
      objective: {
        loss,
        parameters: new Map([
          ["good", float32([1], [1])],
          ["later.bad", float32([1], [1e-30])],
        ]),
      },
      batch: () => ({ x: float32([2, 1], [1, 2]) }),
    });
    await expect(train(device, recipe)).rejects.toThrow(
      /regression, step 0: expected finite gradients, got others in "later\.bad"/,
    );
  });

  it("says which tensor is bad when the loss is not finite", async () => {
    const recipe = regression();
    const parameters = new Map(recipe.objective.parameters);
    parameters.set("b1", float32([16], new Float32Array(16).fill(Number.NaN)));
    const broken = { ...recipe, objective: { ...recipe.objective, parameters } };
    await expect(train(device, broken)).rejects.toThrow(
      /expected a finite loss, got NaN; the first bad tensor is "b1"/,
    );
  });

  it("stops at a signal with a checkpoint", async () => {
    const directory = temporary();
    const controller = new AbortController();
    const recipe = regression();
    const result = await train(
      device,
      {
        ...recipe,
        batch: (cursor, generator) => (cursor === 40 && controller.abort(), recipe.batch(cursor, generator)),
      },
      { directory, signal: controller.signal },
    );
    expect(result).toMatchObject({ step: 6, finished: false });
    expect(existsSync(join(directory, "checkpoint.safetensors"))).toBe(true);
  });

  it("fits its steps to the minutes it is given", async () => {
    const result = await train(device, regression({ steps: 1_000_000 }), { minutes: 0.02, stopAfter: 12 });
    expect(result.steps).toBeLessThan(100_000);
    expect(result.step).toBe(Math.min(12, result.steps));
  });

  it("refuses a checkpoint of another task, and none", async () => {
    const directory = temporary();
    await expect(train(device, regression(), { directory, resume: true })).rejects.toThrow(/expected a checkpoint at/);
    await train(device, regression({ steps: 1 }), { directory });
    await expect(train(device, regression({ task: "other" }), { directory, resume: true })).rejects.toThrow(
      /expected a checkpoint of "other", got one of "regression"/,
    );
  });
});

describe("the optimizer", () => {
  it("follows PyTorch's AdamW with clipping and an average", () => {
    const file = new URL("../fixtures/training/adamw.json", import.meta.url);
    const golden = JSON.parse(readFileSync(file, "utf8")) as {
      settings: {
        learningRate: number;
        beta1: number;
        beta2: number;
        epsilon: number;
        weightDecay: number;
        clipNorm: number;
        averageDecay: number;
      };
      shapes: Record<string, number[]>;
      start: Record<string, number[]>;
      gradients: Record<string, number[]>[];
      steps: { norm: number; parameters: Record<string, number[]>; averages: Record<string, number[]> }[];
    };
    const names = Object.keys(golden.shapes);
    const tensors = new Map<string, Tensor>(
      names.map((name) => [name, float32(golden.shapes[name] ?? [], golden.start[name] ?? [])]),
    );
    kernel({ tensors }, { kind: "start", parameters: names, average: true });
    golden.steps.forEach((expected, step) => {
      for (const name of names)
        tensors.set(slot("gradient", name), float32(golden.shapes[name] ?? [], golden.gradients[step]?.[name] ?? []));
      const result = kernel(
        { tensors },
        {
          kind: "step",
          parameters: names,
          decayed: ["layer.weight"],
          accumulated: 1,
          step: step + 1,
          ...golden.settings,
        },
      ) as StepResult;
      expect(result.norm).toBeCloseTo(expected.norm, 5);
      for (const name of names) {
        const close = (actual: string, values: number[] | undefined): void =>
          values?.forEach((value, i) => expect(tensors.get(actual)?.data[i]).toBeCloseTo(value, 6));
        close(name, expected.parameters[name]);
        close(slot("average", name), expected.averages[name]);
      }
    });
  });
});

describe("schedules", () => {
  it("warm up, then follow the cosine to the floor", () => {
    const schedule = { type: "cosine", learningRate: 2, warmupSteps: 4, floor: 0.1 } as const;
    expect([0, 1, 3].map((step) => learningRateAt(schedule, step, 104))).toEqual([0.5, 1, 2]);
    expect(learningRateAt(schedule, 4, 104)).toBe(2);
    expect(learningRateAt(schedule, 54, 104)).toBeCloseTo(2 * (0.1 + 0.45), 10);
    expect(learningRateAt(schedule, 104, 104)).toBeCloseTo(0.2, 10);
  });

  it("stay constant and cool down over the last share", () => {
    const schedule = { type: "constant", learningRate: 1, coolDown: 0.3 } as const;
    expect(learningRateAt(schedule, 69, 100)).toBe(1);
    expect(learningRateAt(schedule, 85, 100)).toBeCloseTo(0.5, 10);
    expect(learningRateAt(schedule, 100, 100)).toBe(0);
  });

  it("let the average forget its beginnings", () => {
    expect(averageDecayAt(0.999, 0)).toBe(0.1);
    expect(averageDecayAt(0.999, 1e6)).toBe(0.999);
  });
});

describe("progress", () => {
  it("says steps, loss, rate and time left", () => {
    expect(formatStanding({ label: "denoiser", step: 100, steps: 1000, loss: 0.12345, rate: 2.5 })).toBe(
      "denoiser: step 100/1000, loss 0.1235, 2.50 steps/s, 6 min 00 s left",
    );
    expect([12, 125, 7380].map(formatDuration)).toEqual(["12 s", "2 min 05 s", "2 h 03 min"]);
  });
});
