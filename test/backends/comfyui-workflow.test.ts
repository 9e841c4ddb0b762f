import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ComfyuiOptions } from "#laurel/backends/comfyui";
import { loadBackendConfig } from "#laurel/backends/load-config";
import { openConfigured } from "#laurel/backends/open";
import { UsageError } from "#laurel/errors";
import { closeAll, draw, open, SIZE } from "./comfyui-subject.js";
import { startComfyui } from "./servers/comfyui-server.js";
import { paint } from "./servers/webui-server.js";

afterEach(closeAll);

const node = (type: string, inputs: Record<string, unknown>) => ({
  class_type: type,
  inputs,
  _meta: { title: type },
});
const exported = (change: Record<string, unknown> = {}) => ({
  "3": node("KSampler", {
    seed: 1,
    steps: 30,
    cfg: 6.5,
    sampler_name: "dpmpp_2m",
    scheduler: "karras",
    denoise: 1,
    model: ["4", 0],
    positive: ["6", 0],
    negative: ["7", 0],
    latent_image: ["5", 0],
  }),
  "4": node("CheckpointLoaderSimple", { ckpt_name: "tiny.safetensors" }),
  "5": node("EmptyLatentImage", { width: 128, height: 64, batch_size: 1 }),
  "6": node("CLIPTextEncode", { text: "a dog", clip: ["4", 1] }),
  "7": node("CLIPTextEncode", { text: "blurry", clip: ["4", 1] }),
  "8": node("VAEDecode", { samples: ["3", 0], vae: ["4", 2] }),
  "9": node("SaveImage", { filename_prefix: "mine", images: ["8", 0] }),
  ...change,
});

describe("workflows", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "laurel-comfyui-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const file = async (graph: unknown): Promise<string> => {
    const path = join(folder, "workflow.json");
    await writeFile(path, typeof graph === "string" ? graph : JSON.stringify(graph));
    return path;
  };
  const unset = { steps: undefined, guidance: undefined, width: undefined, height: undefined };

  it("puts what is asked for into the places the configuration names, and leaves the rest", async () => {
    const workflow = await file(exported());
    const slots = {
      prompt: "6.text",
      seed: "3.seed",
      negative: ["7.text"],
      steps: "3.steps",
      width: "5.width",
      height: "5.height",
    };
    const { backend, server } = await open({}, { workflow, slots });
    expect(backend.defaults).toMatchObject({ steps: 30, width: 128, height: 64, guidance: undefined });
    expect(backend.capabilities).toMatchObject({
      guidance: false,
      samplers: [],
      imageToImage: false,
      seeds: "requested",
    });
    expect(backend.model.name).toMatch(/^workflow\.json [0-9a-f]{12}$/);
    await draw(backend, { ...unset, count: 1 });
    await draw(backend, { ...unset, count: 1, steps: 5, negativePrompt: "bad", seed: 7 });
    const [first, second] = server.drawn;
    expect(first!["3"]!.inputs).toMatchObject({ seed: 40, steps: 30, cfg: 6.5 });
    expect(first!["7"]!.inputs["text"]).toBe("blurry");
    expect(second!["3"]!.inputs).toMatchObject({ seed: 7, steps: 5 });
    expect(second!["7"]!.inputs["text"]).toBe("bad");
  });

  it("puts what is asked for into the marks of the file, and reads none in what it puts in", async () => {
    const marked = exported({
      "3": node("KSampler", {
        ...exported()["3"].inputs,
        seed: "{{seed}}",
        steps: "{{steps}}",
        sampler_name: "{{sampler}}",
        scheduler: "{{scheduler}}",
      }),
      "4": node("CheckpointLoaderSimple", { ckpt_name: "{{ model }}" }),
      "6": node("CLIPTextEncode", { text: "photo of {{prompt}}, sharp", clip: ["4", 1] }),
    });
    const workflow = await file(marked);
    await expect(open({}, { workflow })).rejects.toThrow(/model: expected one, since the workflow has \{\{model\}\}/);
    const { backend, server } = await open({}, { workflow, model: "big" });
    expect(backend.model.name).toMatch(/^sdxl\/big.safetensors, workflow\.json/);
    expect(backend.capabilities.samplers).toContain("dpmpp-2m-karras");
    await draw(backend, { ...unset, steps: 4, count: 1, prompt: "a {{seed}} $& cat", sampler: "dpmpp-2m-karras" });
    expect(server.drawn[0]!["6"]!.inputs["text"]).toBe("photo of a {{seed}} $& cat, sharp");
    expect(server.drawn[0]!["3"]!.inputs).toMatchObject({
      seed: 40,
      steps: 4,
      sampler_name: "dpmpp_2m",
      scheduler: "karras",
    });
    expect(server.drawn[0]!["4"]!.inputs["ckpt_name"]).toBe("sdxl/big.safetensors");
  });

  it("starts from a picture where the workflow loads one", async () => {
    const workflow = await file(
      exported({
        "5": node("VAEEncode", { pixels: ["10", 0], vae: ["4", 2] }),
        "10": node("LoadImage", { image: "{{image}}" }),
      }),
    );
    const slots = { prompt: "6.text", seed: "3.seed", denoise: "3.denoise", steps: "3.steps" };
    const { backend, server } = await open({}, { workflow, slots });
    expect(backend.capabilities).toMatchObject({ textToImage: false, imageToImage: true, inpainting: false });
    await draw(backend, { ...unset, count: 1, steps: 4, init: paint(1, SIZE), strength: 0.5 });
    expect(server.drawn[0]!["3"]!.inputs["steps"]).toBe(2);
    expect(server.uploads.has(String(server.drawn[0]!["10"]!.inputs["image"]))).toBe(true);
  });

  it("draws without seeds only where that is declared", async () => {
    const workflow = await file(exported());
    const { backend } = await open({}, { workflow, slots: { prompt: "6.text" }, unseeded: true });
    expect(backend.capabilities.seeds).toBe("none");
    const { images, warnings } = await draw(backend, { ...unset, count: 1 });
    expect(images[0]!.reportedSeed).toBeNull();
    expect(warnings).toEqual([expect.stringMatching(/takes no seeds/)]);
  });

  it("has a file of the workflow's cache written again under another name", async () => {
    const workflow = await file(exported());
    const { backend, server } = await open({ lostFiles: 1 }, { workflow, slots: { prompt: "6.text", seed: "3.seed" } });
    expect((await draw(backend, { ...unset, count: 1 })).images).toHaveLength(1);
    expect(server.drawn.at(-1)!["9"]!.inputs["filename_prefix"]).toMatch(/^mine-[0-9a-f]{8}$/);
  });

  const slots = { prompt: "6.text", seed: "3.seed" };
  it.each<[string, unknown, ComfyuiOptions, RegExp]>([
    [
      "a workflow as the editor saves it",
      { nodes: [], links: [], version: 0.4 },
      { slots },
      /in API format, got one as the editor saves it.*Export \(API\)/,
    ],
    ["no JSON", "workflow", { slots }, /workflow\.json: expected JSON/],
    ["nothing in it", {}, { slots }, /nodes with class_type and inputs, got none/],
    ["a node without class", { "1": { inputs: {} } }, { slots }, /node 1: expected class_type and inputs/],
    [
      "a link to nowhere",
      exported({ "8": node("VAEDecode", { samples: ["33", 0], vae: ["4", 2] }) }),
      { slots },
      /node 8: samples: .*got one to 33/,
    ],
    [
      "no slot for the prompt",
      exported(),
      { slots: { seed: "3.seed" } },
      /slot for the prompt: .*slots: \{ prompt: 6\.text \} \(or 7\.text\)/,
    ],
    [
      "no slot for the seed",
      exported(),
      { slots: { prompt: "6.text" } },
      /slot for the seed: .*3\.seed.*or seeds: none/,
    ],
    [
      "a mark that is no slot",
      exported({ "6": node("CLIPTextEncode", { text: "{{promt}}", clip: ["4", 1] }) }),
      { slots },
      /node 6: text: expected \{\{prompt\}\}, .*got \{\{promt\}\}/,
    ],
    [
      "a place that is none",
      exported(),
      { slots: { ...slots, cfg: "3.guidance" } },
      /slots\.cfg: expected an input of KSampler 3 \(.*cfg.*\), got guidance/,
    ],
    [
      "a node that is none",
      exported(),
      { slots: { ...slots, cfg: "33.cfg" } },
      /slots\.cfg: expected a node of the workflow \(3, 4.*\), got 33/,
    ],
    [
      "a place for two settings",
      exported(),
      { slots: { ...slots, negative: ["7.text", "6.text"] } },
      /slots\.negative: expected a place that nothing else goes to, got 6\.text, which is for slots\.prompt/,
    ],
    [
      "a place with a mark that is named as well",
      exported({ "6": node("CLIPTextEncode", { text: "photo of {{prompt}}", clip: ["4", 1] }) }),
      { slots },
      /slots\.prompt: .* got 6\.text, which is for \{\{prompt\}\}/,
    ],
    [
      "a width without height",
      exported(),
      { slots: { ...slots, width: "5.width" } },
      /slots for width and height, got one/,
    ],
    [
      "two outputs",
      exported({ "10": node("SaveImage", { filename_prefix: "x", images: ["8", 0] }) }),
      { slots },
      /output: naming the one to take, got 9, 10/,
    ],
    [
      "an output that gives nothing",
      exported(),
      { slots, output: "8" },
      /output: expected a node that saves pictures, got VAEDecode/,
    ],
    [
      "a class that the server lacks",
      exported({ "10": node("FancyNode", {}) }),
      { slots },
      /node classes the server has, got FancyNode \(node 10\)/,
    ],
    [
      "a number that JavaScript cannot hold",
      exported({ "10": node("LoraLoader", { x: 2 ** 60 }) }),
      { slots },
      /node 10: x: expected a slot or a number up to/,
    ],
    [
      "a model without a slot",
      exported(),
      { slots, model: "tiny" },
      /model: expected none, since the workflow has no slot/,
    ],
    [
      "a scheduler without a slot",
      exported(),
      { slots, scheduler: "karras" },
      /scheduler: expected none, since the workflow/,
    ],
    ["LoRAs", exported(), { slots, loras: [{ name: "x" }] }, /loras: expected none beside a workflow/],
  ])("refuses %s", async (_, graph, options, message) => {
    const error: unknown = await open({}, { workflow: await file(graph), ...options }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(message);
  });
});

describe("the configuration", () => {
  it("opens several servers as one backend, with credentials and a workflow beside the file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "laurel-comfyui-"));
    const servers = await Promise.all([startComfyui({ pictureMs: 20 }), startComfyui({ pictureMs: 20 })]);
    try {
      await writeFile(join(folder, "workflow.json"), JSON.stringify(exported()));
      const yaml = [
        "backend: comfyui",
        `url: [${servers.map(({ url }) => url).join(", ")}]`,
        "user: ann",
        "password: { env: COMFYUI_PASSWORD }",
        "workflow: workflow.json",
        "slots: { prompt: 6.text, seed: 3.seed, width: 5.width, height: 5.height, cfg: 3.cfg, steps: [3.steps] }",
        "timeout: 60",
      ];
      await writeFile(join(folder, "mine.yaml"), yaml.join("\n"));
      const config = await loadBackendConfig("mine.yaml", folder);
      const local = (): never => expect.unreachable();
      const backend = await openConfigured(config, { local, environment: { COMFYUI_PASSWORD: "pass-word" } });
      const { images } = await draw(backend, { count: 6, steps: 4 });
      expect(images.map(({ seed }) => seed)).toEqual([40, 41, 42, 43, 44, 45]);
      expect(new Set(images.map(({ source }) => source)).size).toBe(2);
      const basic = `Basic ${Buffer.from("ann:pass-word").toString("base64")}`;
      expect(servers[0].seen.every(({ headers }) => headers.authorization === basic)).toBe(true);
      expect(servers[0].sockets.size).toBe(1);
      await backend.dispose();
    } finally {
      await Promise.all(servers.map((server) => server.close()));
      await rm(folder, { recursive: true });
    }
  });

  it.each([
    ["slots: { promt: 6.text }", /slots/],
    ["slots: { prompt: text }", /slots\.prompt: .*expected <node>\.<input>/],
    ["seeds: any", /seeds/],
    ["loras: []", /loras/],
  ])("refuses %s", async (line, message) => {
    const folder = await mkdtemp(join(tmpdir(), "laurel-comfyui-"));
    await writeFile(join(folder, "mine.yaml"), `backend: comfyui\n${line}\n`);
    await expect(loadBackendConfig("mine.yaml", folder)).rejects.toThrow(message);
    await rm(folder, { recursive: true });
  });
});
