/** @file LoRAs in runs and pipelines: what is recorded and noticed; merged into a model's weights. */

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImageRequest } from "#laurel/backends/contract";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { convertLora, inspectLora, mergeLora } from "#laurel/library/lora";
import type { Models } from "#laurel/library/models";
import { finishRun, repeatRun, startRun } from "#laurel/library/runs";
import { infotext } from "#laurel/pipeline/infotext";
import { loadPipeline } from "#laurel/pipeline/document/load";
import { requestSettings } from "#laurel/pipeline/document/plan";
import { openRun } from "#laurel/pipeline/run-store";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { sha256 } from "#laurel/util/files";
import { saveDiffusersFolder } from "#laurel/weights/diffusers-folder";
import { openWeights } from "#laurel/weights/open";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { temporaryFolder } from "../pipeline/runs.js";

const DEMO = fileURLToPath(new URL("../../models/demo/stable-diffusion", import.meta.url));
const lora = (name: string): string => fileURLToPath(new URL(`../fixtures/lora/${name}.safetensors`, import.meta.url));

describe("a run", () => {
  const models = (loras = true): Models & { readonly asked: ImageRequest[] } => {
    const asked: ImageRequest[] = [];
    const backend = createProceduralBackend({ capabilities: { loras }, onRequest: (request) => asked.push(request) });
    return { backend, reward: createBrightnessReward(), asked };
  };
  const REQUEST = { prompt: "a circle", count: 2, keep: 1, seed: 70, steps: 1 };

  test("has its LoRAs with scale and digest; taken up or repeated it expects the same files", async () => {
    const out = await temporaryFolder();
    const path = join(out, "style.safetensors");
    await writeFile(path, "before");
    const used = models();
    const asked = { ...REQUEST, loras: [{ path, scale: 0.5 }], loraAnneal: 0.25 };
    const run = await startRun(out, used, asked);
    const finished = await finishRun(run, used);
    const digest = sha256("before");
    expect(finished.manifest.config).toMatchObject({ loras: [{ path, scale: 0.5 }], loraAnneal: 0.25 });
    expect(finished.manifest.loras).toEqual([{ path, sha256: digest }]);
    const [line] = finished.candidates;
    expect(line).toMatchObject({
      loras: [{ name: "style", sha256: digest, scale: 0.5 }],
      settings: { loraAnneal: 0.25 },
    });
    expect(infotext(line!)).toContain(
      `LoRA: "style:0.5", LoRA SHA256: "style: ${digest.slice(0, 12)}", LoRA anneal: 0.25`,
    );
    expect(infotext(line!).split("\n")[0]).toBe("a circle");
    expect(await readFile(join(finished.directory, "report.html"), "utf8")).toContain("style.safetensors at 0.5");

    const repeated = await finishRun(await repeatRun(out, finished, models()), models());
    expect(repeated.candidates.map((one) => one.sha256)).toEqual(finished.candidates.map((one) => one.sha256));
    expect(used.asked.at(-1)).toMatchObject({ loras: [{ path, scale: 0.5 }], loraAnneal: 0.25 });

    await writeFile(path, "after");
    const fault = /expected the LoRA of the run, .*style\.safetensors \(\w{12}\), got another \(\w{12}\)$/;
    await expect(repeatRun(out, finished, models())).rejects.toThrow(fault);
    await expect(finishRun(await openRun(run.directory), models())).rejects.toThrow(fault);
  });

  test("without LoRAs says nothing of them in its pictures", async () => {
    const used = models();
    const { candidates } = await finishRun(await startRun(await temporaryFolder(), used, REQUEST), used);
    expect(Object.keys(candidates[0]!)).not.toContain("loras");
    expect(Object.keys(candidates[0]!.settings)).not.toContain("loraAnneal");
  });

  test("of a backend that has none is drawn without, and told so", async () => {
    const used = models(false);
    const run = await startRun(await temporaryFolder(), used, { ...REQUEST, loras: [{ path: "style.safetensors" }] });
    const { manifest } = await finishRun(run, used);
    expect(manifest.warnings).toEqual(["procedural: a LoRA is not supported and was left out, got style.safetensors"]);
    expect(manifest.config.loras).toEqual([]);
  });
});

test("a pipeline's settings name LoRAs relative to its file, and a matrix varies their scale", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "a.safetensors"), "a");
  const document = `
version: 1
prompts: [a circle]
matrix: { loraScale: [0, 0.5] }
settings: { lora: [a.safetensors:0.8], loraAnneal: 0.5 }
steps: [{ generate: { count: 1 } }]
`;
  const file = join(folder, "p.yaml");
  await writeFile(file, document);
  const plan = await loadPipeline(file);
  const path = join(folder, "a.safetensors");
  expect(plan.items.map(({ settings }) => requestSettings(settings))).toMatchObject([
    { loras: [{ path, scale: 0 }], loraAnneal: 0.5 },
    { loras: [{ path, scale: 0.4 }], loraAnneal: 0.5 },
  ]);
  expect(plan.files).toEqual([{ path, sha256: sha256("a") }]);
  await writeFile(file, document.replace("a.safetensors", "none.safetensors"));
  await expect(loadPipeline(file)).rejects.toThrow(
    /p\.yaml:5:\d+: settings\.lora\.0: .*none\.safetensors: .*no such file/,
  );
});

describe("merged into a model", () => {
  let device: Device;
  beforeAll(() => {
    device = openDevice();
  });
  afterAll(async () => {
    await device.close();
  });

  test("they draw what they draw beside it, to the rounding of the weights", async () => {
    const out = join(await temporaryFolder(), "merged");
    const loras = [
      { path: lora("attention"), scale: 0.7 },
      { path: lora("kohya"), scale: 0.5 },
    ];
    expect(Object.fromEntries(await mergeLora(DEMO, loras, out))).toEqual({ unet: 58, text_encoder: 12 });
    const ask = { prompt: "a red circle above a blue square", seed: 5, steps: 4 };
    const picture = async (directory: string, request: object): Promise<Uint8Array> => {
      const model = await openStableDiffusion(directory, device);
      for await (const { images } of model.generate({ ...ask, ...request })) {
        await model.dispose();
        return images[0]!.image.data;
      }
      throw new Error("expected a picture");
    };
    const beside = await picture(DEMO, { loras });
    const inside = await picture(out, {});
    const difference = beside.reduce((sum, value, i) => sum + Math.abs(value - inside[i]!), 0) / beside.length;
    expect(difference).toBeLessThanOrEqual(0.1); // required: 1
    expect(inside).not.toEqual(await picture(DEMO, {}));

    expect((await readdir(out)).sort()).toEqual((await readdir(DEMO)).sort());
    const [before, after] = [await openWeights(join(DEMO, "unet")), await openWeights(join(out, "unet"))];
    const types = (source: typeof before): unknown =>
      [...source.entries].map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape}`).sort();
    expect(types(after)).toEqual(types(before));
    await expect(mergeLora(DEMO, loras, out)).rejects.toThrow(/merged: expected a new folder, got one that exists$/);
  });

  test("a folder appears whole or not at all, and replaces no folder of something else", async () => {
    const parent = await temporaryFolder();
    const out = join(parent, "model");
    const value = (...shape: number[]): Map<string, Tensor> =>
      new Map([["conv_in.bias", float32(shape, new Float32Array(shape[0]!).fill(0.5))]]);
    await expect(saveDiffusersFolder(DEMO, out, new Map([["unet", value(3)]]))).rejects.toThrow(
      /unet.*expected weights to replace, got conv_in\.bias: \[3\] for \[96\]$/,
    );
    expect(await readdir(parent)).toEqual([]);
    await saveDiffusersFolder(DEMO, out, new Map([["unet", value(96)]]));
    await saveDiffusersFolder(DEMO, out, new Map([["unet", value(96)]]));
    expect(await readdir(parent)).toEqual(["model"]);
    const written = await openWeights(join(out, "unet"));
    const bias = await written.read("conv_in.bias");
    expect(bias.dtype).toBe((await openWeights(join(DEMO, "unet"))).entries.get("conv_in.bias")!.dtype);
    const other = join(parent, "other");
    await saveDiffusersFolder(DEMO, other, new Map());
    await writeFile(join(parent, "note"), "mine");
    await expect(saveDiffusersFolder(DEMO, parent, new Map())).rejects.toThrow(/expected a new folder, or a diffusers/);
    await expect(saveDiffusersFolder(DEMO, DEMO, new Map())).rejects.toThrow(/expected another folder/);
  });
});

test("converting keeps every number, and from kohya's names it needs the model", async () => {
  const folder = await temporaryFolder();
  const [there, back] = [join(folder, "there.safetensors"), join(folder, "back.safetensors")];
  expect(await convertLora(lora("attention"), there, { to: "kohya" })).toBe(62);
  await expect(convertLora(there, back, { to: "diffusers" })).rejects.toThrow(
    /expected the model it is for \(--model\)/,
  );
  await convertLora(there, back, { to: "diffusers", model: DEMO });
  const facts = async (path: string): Promise<unknown> =>
    (await inspectLora(path)).layers
      .map(({ component, layer, rank, scale, norm }) => ({ component, layer, rank, scale, norm }))
      .sort((a, b) => (`${a.component}${a.layer}` < `${b.component}${b.layer}` ? -1 : 1));
  expect(await facts(back)).toEqual(await facts(lora("attention")));
});
