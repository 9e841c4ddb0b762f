/** @file The networks of a model that was exported to ONNX (optimum's layout): names, types and shapes of what they read are their own. */

import { join } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import type { ValueType } from "../graph/types.js";
import { modelWithExternalData } from "../onnx/external-data.js";
import { type OnnxFile, readOnnxFile } from "../onnx/read-ports.js";
import type { Device } from "../runtime/device.js";
import type { Program, RunOptions } from "../runtime/program.js";
import type { Tensor } from "../tensor/tensor.js";
import type { NetworkConfigs } from "./networks.js";
import { chunkOf, joinRows, pickRows, toDtype, toFloat32 } from "./onnx-tensors.js";
import type { LazyRunnable, Networks, Runnable } from "./runnable.js";
import type { TextNetwork } from "./text-networks.js";

/** A network's file and what it takes and gives. */
interface Part extends OnnxFile {
  readonly path: string;
}

/** The networks of a folder, each loaded when it is first used. */
export class OnnxNetworks implements Networks {
  /** What cannot be honoured as asked. */
  readonly warnings: readonly string[];
  readonly #device: Device;
  readonly #directory: string;
  readonly #texts: readonly LoadedPart[];
  readonly #denoiser: LoadedPart;
  readonly #decoder: LoadedPart;

  private constructor(device: Device, directory: string, parts: OnnxParts) {
    this.#device = device;
    this.#directory = directory;
    this.#texts = parts.texts.map((part, i) => new LoadedPart(device, part, `text encoder ${i + 1}`));
    this.#denoiser = new LoadedPart(device, parts.denoiser, "denoiser");
    this.#decoder = new LoadedPart(device, parts.decoder, "decoder");
    this.#networks = parts.networks;
    const whole = portOf(parts.denoiser, "timestep").dtype.startsWith("int");
    this.warnings = whole
      ? [`${parts.denoiser.path}: it reads whole timesteps: those of a sampler that lie between are cut`]
      : [];
  }

  readonly #networks: readonly TextNetwork[];

  /** Reads what the files take and give. @throws ModelError for a file that is missing, damaged or takes something unknown */
  static async open(device: Device, directory: string, { texts, unet }: NetworkConfigs): Promise<OnnxNetworks> {
    const read = async (part: string): Promise<Part> => {
      const path = join(directory, part, "model.onnx");
      return { path, ...(await readOnnxFile(path)) };
    };
    const [denoiser, decoder, ...encoders] = await Promise.all([
      read("unet"),
      read("vae_decoder"),
      ...texts.map(({ component }) => read(component)),
    ]);
    encoders.forEach((part, i) => checkPorts(part, ["input_ids"], textOutputs(texts[i]!)));
    const added = unet.addedEmbedding === undefined ? [] : ["text_embeds", "time_ids"];
    const condition = unet.timeConditionWidth === undefined ? [] : ["timestep_cond"];
    checkPorts(denoiser, ["sample", "timestep", "encoder_hidden_states", ...added, ...condition], ["out_sample"]);
    checkPorts(decoder, ["latent_sample"], ["sample"]);
    return new OnnxNetworks(device, directory, { texts: encoders, denoiser, decoder, networks: texts });
  }

  text(index: number): LazyRunnable {
    const part = this.#texts[index]!;
    const [states, pooled] = textOutputs(this.#networks[index]!);
    return part.as(["ids"], async (run, { ids }, options) => {
      const outputs = await run({ input_ids: ids! }, options);
      return { states: outputs[states!]!, ...(pooled === undefined ? {} : { pooled: outputs[pooled]! }) };
    });
  }

  denoiser(): LazyRunnable {
    const part = this.#denoiser;
    const timestepShape = portOf(part.part, "timestep").shape.map((size) => (typeof size === "number" ? size : 1));
    const names = ["sample", "timestep", "conditioning", "row", "pooled", "sizes", "guidance"];
    return part.as(names, async (run, feeds, options) => {
      const rows = [...(feeds["row"]!.data as BigInt64Array)].map(Number);
      const timesteps = [...(feeds["timestep"]!.data as Float32Array)];
      const evaluate = async (at: readonly number[], timestep: number): Promise<Tensor> => {
        const prompts = at.map((row) => rows[row]!);
        const outputs = await run(
          {
            sample: pickRows(feeds["sample"]!, at),
            timestep: {
              dtype: "float32",
              shape: timestepShape,
              data: new Float32Array(timestepShape.reduce((product, size) => product * size, 1)).fill(timestep),
            },
            encoder_hidden_states: pickRows(feeds["conditioning"]!, prompts),
            ...(feeds["pooled"] === undefined ? {} : { text_embeds: pickRows(feeds["pooled"], prompts) }),
            ...(feeds["sizes"] === undefined ? {} : { time_ids: pickRows(feeds["sizes"], prompts) }),
            ...(feeds["guidance"] === undefined ? {} : { timestep_cond: pickRows(feeds["guidance"], at) }),
          },
          options,
        );
        return outputs["out_sample"]!;
      };
      // it reads one timestep for all of its rows
      const together = [...new Set(timesteps)].map((timestep) => ({
        timestep,
        at: timesteps.flatMap((one, row) => (one === timestep ? [row] : [])),
      }));
      const parts: Tensor[] = [];
      for (const { timestep, at } of together) parts.push(await evaluate(at, timestep));
      return {
        prediction: joinRows(
          parts,
          together.flatMap(({ at }) => at),
        ),
      };
    });
  }

  denoiserGradient(): LazyRunnable {
    return this.#withoutGradients();
  }

  scoreGradient(): LazyRunnable {
    return this.#withoutGradients();
  }

  #withoutGradients(): never {
    throw new UsageError(
      `${this.#directory}: expected a model with its weights for gradients, got networks exported to ONNX, which only compute`,
    );
  }

  decoder(): LazyRunnable {
    return this.#decoder.as(["latents"], async (run, { latents }, options) => {
      const { sample } = await run({ latent_sample: latents! }, options);
      return { image: sample! };
    });
  }

  async encoder(): Promise<Runnable & { dispose(): Promise<void> }> {
    const path = join(this.#directory, "vae_encoder", "model.onnx");
    const part: Part = { path, ...(await readOnnxFile(path)) };
    checkPorts(part, ["sample"], ["latent_parameters"]);
    const loaded = new LoadedPart(this.#device, part, "encoder");
    const runnable = await loaded
      .as(["image"], async (run, { image }, options) => {
        const outputs = await run({ sample: image! }, options);
        const [mean, logVariance] = [0, 1].map((half) => chunkOf(outputs["latent_parameters"]!, half, 2));
        const data = (logVariance!.data as Float32Array).map((value) => Math.min(20, Math.max(-30, value)));
        return { mean: mean!, logVariance: { ...logVariance!, data } as Tensor };
      })
      .get();
    return { ...runnable, dispose: () => loaded.dispose() };
  }

  async prepare(): Promise<void> {
    await Promise.all([...this.#texts, this.#denoiser, this.#decoder].map((part) => part.program()));
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#texts, this.#denoiser, this.#decoder].map((part) => part.dispose()));
  }
}

interface OnnxParts {
  readonly texts: readonly Part[];
  readonly denoiser: Part;
  readonly decoder: Part;
  readonly networks: readonly TextNetwork[];
}

/** Runs a part with float32 feeds by its own names, whatever types it takes. */
type RunPart = (feeds: Readonly<Record<string, Tensor>>, options?: RunOptions) => Promise<Record<string, Tensor>>;

/** A part that is loaded when it is first used; anew when that failed or it was disposed of. */
class LoadedPart {
  #program: Promise<Program> | undefined;

  constructor(
    private readonly device: Device,
    readonly part: Part,
    private readonly label: string,
  ) {}

  program(): Promise<Program> {
    if (this.#program === undefined) {
      const { part, label, device } = this;
      const program = modelWithExternalData(part.path, part).then((model) => device.load(model, { ...part, label }));
      program.catch(() => {
        if (this.#program === program) this.#program = undefined;
      });
      this.#program = program;
    }
    return this.#program;
  }

  /** The part as Laurel's own network with inputs `names`. */
  as(
    names: readonly string[],
    call: (
      run: RunPart,
      feeds: Readonly<Record<string, Tensor>>,
      options: RunOptions | undefined,
    ) => Promise<Record<string, Tensor>>,
  ): LazyRunnable {
    return {
      get: async () => {
        const program = await this.program();
        const run: RunPart = async (feeds, options) => {
          const typed = Object.entries(feeds).map(([name, feed]) => [
            name,
            toDtype(feed, portOf(this.part, name).dtype),
          ]);
          const outputs = await program.run(Object.fromEntries(typed) as Record<string, Tensor>, options);
          return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, toFloat32(value)]));
        };
        return {
          inputs: names.map((name) => ({ name })),
          run: (feeds, options) => call(run, feeds, options),
        };
      },
    };
  }

  async dispose(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    await (await program?.catch(() => undefined))?.dispose();
  }
}

function portOf({ path, inputs }: Part, name: string): ValueType {
  const port = inputs.get(name);
  if (port === undefined) throw new ModelError(`${path}: expected an input ${name}, got ${listed(inputs.keys())}`);
  return port;
}

/** The states that condition the denoiser, and the projected end of text. */
function textOutputs({ config, taken, pooled }: TextNetwork): readonly string[] {
  const states = taken === "last" ? "last_hidden_state" : `hidden_states.${config.layers - 1}`;
  return pooled ? [states, "text_embeds"] : [states];
}

/** @throws ModelError for inputs that are not exactly those, or outputs that are not there */
function checkPorts(part: Part, inputs: readonly string[], outputs: readonly string[]): void {
  const problems: string[] = [];
  const same = inputs.length === part.inputs.size && inputs.every((name) => part.inputs.has(name));
  if (!same) problems.push(`expected inputs ${inputs.join(", ")}, got ${listed(part.inputs.keys())}`);
  if (!outputs.every((name) => part.outputs.has(name)))
    problems.push(`expected outputs ${outputs.join(", ")}, got ${listed(part.outputs.keys())}`);
  if (problems.length > 0) throw new ModelError(`${part.path}: ${problems.join("; ")}`);
}

function listed(names: Iterable<string>): string {
  return [...names].join(", ");
}
