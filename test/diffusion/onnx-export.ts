/** @file Folders of ONNX files as optimum writes them, made from the tiny models of the fixtures. */

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cast, concat, expandLike, graph, input, reshape, slice } from "#laurel/graph/builder";
import type { Graph, Value } from "#laurel/graph/types";
import { buildDecoder, buildEncoder, parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { buildClipTextStates, parseClipTextConfig, projectText } from "#laurel/models/clip-text";
import { buildUnet, parseUnetConfig } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import { encodeModel } from "#laurel/onnx/encode";
import { openSafetensors } from "#laurel/weights/safetensors";

/** What differs between exports. */
export interface ExportStyle {
  readonly ids: "int32" | "int64";
  readonly timestep: { readonly dtype: "int64" | "float32"; readonly shape: [] | [1] };
  /** Of the denoiser's other inputs and its output. */
  readonly dtype: "float32" | "float16";
}

const json = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, "utf8"));

/** Turns a diffusers folder into one of ONNX files, for pictures of 32 x 32: the weights lie in `model.onnx_data` beside each `model.onnx`. */
export async function exportToOnnx(folder: string, style: ExportStyle): Promise<void> {
  const xl = await readFile(join(folder, "text_encoder_2", "config.json")).then(
    () => true,
    () => false,
  );
  const scope = () => rootScope({ mode: "inference" });
  const real = (name: string, shape: (string | number)[]): Value => cast(input(name, style.dtype, shape), "float32");
  for (const component of xl ? ["text_encoder", "text_encoder_2"] : ["text_encoder"]) {
    const config = parseClipTextConfig(await json(join(folder, component, "config.json")), component);
    const ids = cast(input("input_ids", style.ids, ["batch_size", config.maxPositions]), "int64");
    const root = scope();
    const built = buildClipTextStates(root, config, ids);
    const states = built.hiddenStates.map((state, i): [string, Value] => [`hidden_states.${i}`, state]);
    const pooled: Record<string, Value> =
      component === "text_encoder"
        ? { pooler_output: built.pooled }
        : { text_embeds: projectText(root, config, built.pooled) };
    const outputs = { ...pooled, last_hidden_state: built.lastHiddenState, ...Object.fromEntries(states) };
    await write(graph("text", outputs), join(folder, component), "model.safetensors");
  }
  const unet = parseUnetConfig(await json(join(folder, "unet", "config.json")), "unet");
  const sample = real("sample", ["batch_size", unet.inChannels, 8, 8]);
  const one = reshape(cast(input("timestep", style.timestep.dtype, style.timestep.shape), "float32"), [1]);
  const added =
    unet.addedEmbedding === undefined
      ? undefined
      : {
          pooled: real("text_embeds", ["batch_size", unet.addedEmbedding.pooledWidth]),
          sizes: real("time_ids", ["batch_size", 6]),
        };
  const timestep = expandLike(one, reshape(slice(reshape(sample, ["batch_size", 256]), 1, 0, 1), ["batch_size"]));
  const encoderHiddenStates = real("encoder_hidden_states", ["batch_size", 20, unet.crossAttentionWidth]);
  const prediction = buildUnet(scope(), unet, { sample, timestep, encoderHiddenStates, added });
  await write(
    graph("unet", { out_sample: cast(prediction, style.dtype) }),
    join(folder, "unet"),
    "diffusion_pytorch_model.safetensors",
  );
  const vae = parseAutoencoderConfig(await json(join(folder, "vae", "config.json")), "vae");
  const latents = real("latent_sample", ["batch_size", vae.latentChannels, 8, 8]);
  const image = real("sample", ["batch_size", 3, 32, 32]);
  const { mean, logVariance } = buildEncoder(scope(), vae, image);
  const parts: [string, Value][] = [
    ["vae_decoder", cast(buildDecoder(scope(), vae, latents), style.dtype)],
    ["vae_encoder", cast(concat([mean, logVariance], 1), style.dtype)],
  ];
  for (const [part, value] of parts) {
    await mkdir(join(folder, part));
    for (const file of ["config.json", "diffusion_pytorch_model.safetensors"]) {
      await copyFile(join(folder, "vae", file), join(folder, part, file));
    }
    const name = part === "vae_decoder" ? "sample" : "latent_parameters";
    await write(graph(part, { [name]: value }), join(folder, part), "diffusion_pytorch_model.safetensors");
  }
  await rm(join(folder, "vae"), { recursive: true });
  const index = (await json(join(folder, "model_index.json"))) as Record<string, unknown>;
  const parted = { vae_decoder: ["diffusers", "OnnxRuntimeModel"], vae_encoder: ["diffusers", "OnnxRuntimeModel"] };
  const className = `ORT${String(index["_class_name"])}`;
  await writeFile(
    join(folder, "model_index.json"),
    JSON.stringify({ ...index, vae: undefined, ...parted, _class_name: className }),
  );
}

/** Writes `model.onnx` with its weights in `model.onnx_data`, which takes the place of the safetensors file. */
async function write(network: Graph, folder: string, weights: string): Promise<void> {
  const data = join(folder, "model.onnx_data");
  await copyFile(join(folder, weights), data);
  await rm(join(folder, weights));
  const { entries } = await openSafetensors(data);
  await writeFile(join(folder, "model.onnx"), encodeModel(network, { weights: entries, folder }));
}
