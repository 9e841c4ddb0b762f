/** @file The library: everything that other programs import from `laurel`. */

// Errors, each with the exit code of the command line.
export { BackendError, CancelledError, EXIT, InternalError, LaurelError, ModelError, UsageError } from "./errors.js";

// Tensors on the host, and torch's CPU random stream.
export type { DType, TypedArrayOf } from "./tensor/dtype.js";
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "./tensor/half.js";
export { type GeneratorState, TorchGenerator } from "./tensor/random.js";
export { elementCount, float32, int64, type Tensor, tensor, zeros } from "./tensor/tensor.js";

// Networks: graphs over ONNX ops (`ops.matMul(a, b)`), their gradients, their files.
export * as ops from "./graph/builder.js";
export type { Attributes, Graph, Node, Value } from "./graph/types.js";
export { verify } from "./graph/verify.js";
export { gradient, type Seed } from "./autodiff/gradient.js";
export { decodeModel } from "./onnx/decode.js";
export { encodeModel, type EncodeOptions } from "./onnx/encode.js";
export { type NetworkMode, rootScope, type Scope } from "./nn/scope.js";

// Checkpoints, used in place.
export { openSafetensorsIndex, openWeights } from "./weights/open.js";
export { resolveWeights, type ResolveOptions } from "./weights/resolve.js";
export { openSafetensors, saveSafetensors } from "./weights/safetensors.js";
export { openTorchCheckpoint } from "./weights/torch-checkpoint.js";
export type { WeightEntry, WeightRef, WeightSource } from "./weights/types.js";

// Programs on a device.
export { type Device, type DeviceOptions, openDevice } from "./runtime/device.js";
export type { Program, RunOptions } from "./runtime/program.js";

// Images.
export { contactSheet, type ContactSheetOptions } from "./image/contact-sheet.js";
export { decodeImage, decodeRgb } from "./image/decode.js";
export { encodePng, type PngText, readPngText } from "./image/png.js";
export { preprocessClip } from "./image/preprocess.js";
export { resizeBicubic, resizeNearest } from "./image/resize.js";
export type { RgbImage, SourceImage } from "./image/types.js";

// Stable Diffusion, step by step, and the rewards.
export { forkState, type LatentState } from "./diffusion/latents.js";
export { openStableDiffusion } from "./diffusion/stable-diffusion.js";
export type { DiffusionRequest } from "./diffusion/request.js";
export type { StableDiffusion, Trajectory } from "./diffusion/stable-diffusion.js";
export { type ClipScore, openClipScore } from "./rewards/clip-score.js";
export type { DifferentiableReward, Reward, RewardGradient, RewardOptions, RewardResult } from "./rewards/contract.js";
export { type ImageReward, openImageReward } from "./rewards/image-reward.js";
export { inferenceRank } from "./rewards/rank.js";

// Backends and strategies.
export type {
  BackendCapabilities,
  GeneratedGroup,
  GeneratedImage,
  GenerateOptions,
  GenerationProgress,
  ImageBackend,
  ImageRequest,
  ImageSettings,
} from "./backends/contract.js";
export { MAX_CANDIDATES, MAX_SEED } from "./backends/contract.js";
export { createLocalBackend } from "./backends/local.js";
export { checkRequest, type OpenRequest, resolveRequest } from "./backends/resolve.js";
export { bestOfN } from "./strategies/best-of-n.js";
export type {
  Budget,
  Candidate,
  Lineage,
  Scored,
  Strategy,
  StrategyContext,
  StrategyEvent,
} from "./strategies/contract.js";
export { rank } from "./strategies/rank.js";

// Training, and the demo world with its truth.
export { type Recipe, train, type TrainingResult, type TrainOptions } from "./training/loop.js";
export { createTrainer, type Objective, type OptimizerSettings, type Trainer } from "./training/trainer.js";
export { type Description, parseDescription, printDescription } from "./demo/grammar.js";
export { judge, type Judgement } from "./demo/oracle.js";

// Runs on disk and their pages.
export type { CandidateLine, CandidateRecord } from "./pipeline/candidate-record.js";
export { digestModel } from "./pipeline/digest.js";
export { generateRun, type GenerateRunOptions, type RunProgress, type RunResult } from "./pipeline/generate-run.js";
export { infotext } from "./pipeline/infotext.js";
export type { RunConfig, RunManifest, RunRequest, RunStatus, RunTimings } from "./pipeline/manifest.js";
export { EMBEDDED_MODELS, packageVersion } from "./pipeline/package-info.js";
export { type RankedCandidate, rankedCandidates } from "./pipeline/ranked.js";
export { createRun, type NewRun, openRun, readRun, type Run, type RunSnapshot } from "./pipeline/run-store.js";
export { writeReport } from "./report/report.js";
