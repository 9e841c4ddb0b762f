import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { ImageRewardConfig } from "#laurel/models/image-reward";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import type { Picture } from "#laurel/demo/render";
import { loadPairs, savePairs } from "#laurel/training/demo-generated";
import { trainDemo } from "#laurel/training/demo";
import { DEMO_WEIGHTS, readParameters, writeParameters } from "#laurel/training/demo-files";
import { DEMO_STAGES, defaultSettingsPath, parseDemoSettings, readDemoSettings } from "#laurel/training/demo-settings";
import { rewardRecipe } from "#laurel/training/recipes/reward";
import { openWeights } from "#laurel/weights/open";

const shipped = fileURLToPath(new URL("../../models/demo", import.meta.url));
const tower = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2 };

/** A folder of demo models with tiny architectures; only the reward has weights, which its shapes are read from. */
async function tinyModels(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "laurel-demo-models-"));
  const write = (path: string, value: unknown): void => {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify(value));
  };
  for (const path of ["stable-diffusion/tokenizer", "clip"])
    cpSync(join(shipped, path), join(folder, path), {
      recursive: true,
      filter: (file) => !file.endsWith("model.safetensors"),
    });
  cpSync(join(shipped, "image-reward/vocab.txt"), join(folder, "image-reward/vocab.txt"));
  cpSync(join(shipped, "image-reward/tokenizer_config.json"), join(folder, "image-reward/tokenizer_config.json"));
  const { vocabularySize, maxLength } = await openClipTokenizer(join(folder, "clip"));
  const text = { ...tower, vocab_size: vocabularySize, max_position_embeddings: maxLength, eos_token_id: 2 };
  write("stable-diffusion/vae/config.json", {
    block_out_channels: [4, 8, 8, 8],
    down_block_types: Array(4).fill("DownEncoderBlock2D"),
    up_block_types: Array(4).fill("UpDecoderBlock2D"),
    norm_num_groups: 4,
    mid_block_add_attention: false,
    scaling_factor: 0.5,
  });
  write("stable-diffusion/unet/config.json", {
    sample_size: 8,
    block_out_channels: [8],
    down_block_types: ["CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D"],
    layers_per_block: 1,
    attention_head_dim: 2,
    cross_attention_dim: 16,
    norm_num_groups: 4,
  });
  write("stable-diffusion/text_encoder/config.json", text);
  write("stable-diffusion/scheduler/scheduler_config.json", {
    _class_name: "DDIMScheduler",
    prediction_type: "v_prediction",
  });
  write("clip/config.json", {
    text_config: text,
    vision_config: { ...tower, image_size: 64, patch_size: 16 },
    projection_dim: 16,
  });
  const tokenizer = await openBertTokenizer(join(folder, "image-reward"), { maxLength: 35 });
  const config: ImageRewardConfig = {
    vision: { imageSize: 64, patchSize: 16, width: 64, inner: 64, layers: 1, heads: 1 },
    text: {
      vocabulary: tokenizer.vocabularySize,
      maxPositions: 35,
      width: 32,
      inner: 64,
      layers: 1,
      heads: 2,
      activation: "gelu",
      epsilon: 1e-12,
    },
    head: [{ index: 0, width: 1 }],
    maxTextLength: 35,
    scoreMean: 0,
    scoreStd: 1,
  };
  const optimizer = { schedule: { type: "constant", learningRate: 1e-3 } } as const;
  const { objective } = rewardRecipe({ config, tokenizer }, { steps: 1, batchSize: 1, optimizer });
  await writeParameters(join(folder, DEMO_WEIGHTS.reward), objective.parameters);
  write("image-reward/med_config.json", { num_attention_heads: 2 });
  return folder;
}

/** The shipped settings with small batches. */
function smallSettings(folder: string, stage: (typeof DEMO_STAGES)[number]): string {
  const path = join(folder, `${stage}.yaml`);
  const text = readFileSync(defaultSettingsPath(stage), "utf8");
  writeFileSync(path, text.replace(/^batchSize: .*$/m, "batchSize: 4").replace(/^generated:[^\n]*\n( .*\n)*/m, ""));
  return path;
}

describe("trainDemo", () => {
  it("trains every stage into the shipped layout, resumes, and goes on from given weights", async () => {
    const models = await tinyModels();
    const out = mkdtempSync(join(tmpdir(), "laurel-demo-out-"));
    for (const stage of DEMO_STAGES) {
      const options = { models, out, steps: 2, threads: 1, config: smallSettings(models, stage) };
      const result = await trainDemo(stage, options);
      expect(result, stage).toMatchObject({ step: 2, finished: true });
      for (const file of result.files) {
        const { entries } = await openWeights(file);
        expect(
          [...entries.values()].every(({ dtype }) => dtype === "float16"),
          file,
        ).toBe(true);
      }
      expect(existsSync(join(result.directory, "log.jsonl"))).toBe(true);
    }
    expect(Object.values(DEMO_WEIGHTS).filter((file) => !existsSync(join(out, file)))).toEqual([]);
    expect(existsSync(join(out, "stable-diffusion/unet/config.json"))).toBe(true);

    const config = smallSettings(models, "denoiser");
    const resumed = await trainDemo("denoiser", { models, out, steps: 2, threads: 1, config, resume: true });
    expect(resumed).toMatchObject({ step: 2, finished: true });

    const again = mkdtempSync(join(tmpdir(), "laurel-demo-again-"));
    // A rate of nearly nothing: what comes out is what was given.
    writeFileSync(config, readFileSync(config, "utf8").replace("learningRate: 1.0e-3", "learningRate: 1.0e-12"));
    await trainDemo("denoiser", { models: out, continueWeights: true, out: again, steps: 1, threads: 1, config });
    const [before, after] = [
      await readParameters(join(out, DEMO_WEIGHTS.denoiser)),
      await readParameters(join(again, DEMO_WEIGHTS.denoiser)),
    ];
    expect(after.get("conv_in.weight")?.data).toEqual(before.get("conv_in.weight")?.data);
  }, 240_000);

  it("asks for the autoencoder before the denoiser", async () => {
    const models = await tinyModels();
    await expect(
      trainDemo("denoiser", { models, out: mkdtempSync(join(tmpdir(), "laurel-")), threads: 1 }),
    ).rejects.toThrow(/expected a trained autoencoder/);
  });
});

describe("pairs of generated images", () => {
  it("come back from their file as they were", async () => {
    const [a, b, c] = [1, 2, 3].map((fill) => ({ width: 2, height: 1, data: new Uint8Array(6).fill(fill) })) as [
      Picture,
      Picture,
      Picture,
    ];
    const pairs = [
      { prompt: "a red circle", better: a, worse: b },
      { prompt: "just a red circle", better: a, worse: c },
    ];
    const path = join(mkdtempSync(join(tmpdir(), "laurel-pairs-")), "generated.safetensors");
    await savePairs(path, pairs);
    expect(await loadPairs(path)).toEqual(pairs);
  });
});

describe("settings of the stages", () => {
  it.each(DEMO_STAGES)("ship for %s", (stage) => {
    expect(readDemoSettings(stage, defaultSettingsPath(stage)).stage).toBe(stage);
  });

  it("name every fault", () => {
    const text =
      "stage: judge\nsteps: 0\nbatchSize: 6\ngroupSize: 4\nlerning: 1\noptimizer: { schedule: { type: cosine, learningRate: 1 } }\n";
    expect(() => parseDemoSettings("judge", text, "judge.yaml")).toThrow(/judge\.yaml: steps: .*; .*lerning/);
    expect(() => parseDemoSettings("judge", text.replace("0", "5").replace("lerning: 1\n", ""), "judge.yaml")).toThrow(
      /groupSize must divide batchSize/,
    );
    expect(() => parseDemoSettings("reward", readFileSync(defaultSettingsPath("judge"), "utf8"), "x.yaml")).toThrow(
      /expected settings of reward, got those of judge/,
    );
    expect(() => parseDemoSettings("judge", "a: [1", "x.yaml")).toThrow(/line 1/);
  });
});
