/** @file The library: everything that other programs import from `laurel`. */

// Open: a device, a source of images, a reward.
export { type Device, type DeviceOptions, openDevice } from "./runtime/device.js";
export type { DeviceChoice, ExecutionProviderName } from "./runtime/execution-providers.js";
export { chooseProvider } from "./runtime/probe.js";
export type { AutomaticChoice, ProviderProbe } from "./runtime/probe.js";
export { openBackend, openReward } from "./library/open-models.js";
export { resolveModel, resolveReward } from "./library/named-models.js";
export { type PulledModel, pullModel, type PullModelOptions } from "./library/hub-models.js";
export type { InstalledReward } from "./weights/hub/installed.js";
export { catalogueNames, type RewardKind } from "./weights/hub/catalogue.js";
export type { Pulled, PulledFile, PullOptions, PullProgress } from "./weights/hub/pull.js";
export type { Environment } from "./util/user-folders.js";
export { type ChosenReward, openRewards, parseRewards, type RewardChoice } from "./library/chosen-rewards.js";
export { openNamedReward, type RewardPrecision } from "./library/named-rewards.js";
export type { Models } from "./library/models.js";
export { EMBEDDED_MODELS, packageVersion } from "./pipeline/package-info.js";

// Generate: candidates, ranked.
export {
  generate,
  type GenerateOptions,
  type GenerateRequest,
  type Generation,
  type ScoredCandidate,
} from "./library/generate.js";

// Score image files.
export { findImages } from "./image/find-images.js";
export { type FileScore, type FileScores, scoreFiles, type ScoreFilesOptions } from "./library/score-files.js";

// Score and sort pictures of any number, each against its own prompt.
export { scorePictures, type ScorePicturesOptions } from "./library/pictures/score-pictures.js";
export { type PictureChoice, type RankedPicture, ScoredPictures } from "./library/pictures/scored-pictures.js";
export type { PictureProblem, PictureScore, PromptFrom, PromptsFrom } from "./library/pictures/picture-score.js";
export type { ScoringSummary } from "./library/pictures/counts.js";
export {
  deleteRest,
  scoreBucket,
  type SortedPicture,
  type SortMode,
  sortPictures,
  type SortPicturesOptions,
} from "./library/pictures/sort-pictures.js";
export type { SortFolders } from "./library/pictures/sorted-names.js";
export { scoreColumns } from "./library/pictures/score-columns.js";
export { type ScoreNote, writeScore, type WrittenFile } from "./library/pictures/write-score.js";
export { type TableColumn, writeTable, type WrittenTable } from "./export/table.js";
export { type FoundPicture, type PassedOver, walkPictures, type WalkOptions } from "./image/walk-pictures.js";
export { hashDistance, type PerceptualHash, perceptualHash } from "./image/perceptual-hash.js";
export { type GenerationData, readGenerationData } from "./image/metadata.js";

// Score pictures for other programs, over HTTP.
export { type AnsweredRequest, type ScoreServer, serveScores, type ServeScoresOptions } from "./web/serve-scores.js";
export { SERVE_LIMITS, type ServeLimits } from "./web/limits.js";
export type { OpenedReward, RewardFacts } from "./web/judge.js";

// What scores mean, and how well rewards agree with people.
export {
  betterThan,
  explainScores,
  type ExplainedScore,
  percentText,
  type ReferenceScores,
  shareBelow,
  type Threshold,
  thresholdTable,
} from "./evaluation/explain.js";
export { referenceOf } from "./library/reference-of.js";
export {
  chanceFigures,
  type JudgedPictures,
  type PreferenceFigures,
  preferenceFigures,
  type PromptShare,
  type SharesByCount,
} from "./evaluation/preferences.js";
export {
  agreementOfGenerators,
  type GeneratorAgreement,
  type GeneratorFigures,
  type JudgedGenerator,
  spearman,
} from "./evaluation/generators.js";
export {
  keptScoresFile,
  type PromptPictures,
  readScores,
  type ScoredPrompts,
  scorePrompts,
  type ScorePromptsOptions,
  type ScoresById,
} from "./library/eval-scores.js";
export {
  comparePreferences,
  type NamedScores,
  type PreferenceComparison,
  type RankedPrompt,
  readRankedPrompts,
} from "./library/eval-preferences.js";
export {
  compareGenerators,
  findGeneratorPictures,
  type GeneratorComparison,
  type RankedGenerator,
  readRankedGenerators,
} from "./library/eval-models.js";
export {
  PUBLISHED_IMAGE_REWARD,
  type PublishedScores,
  type Verification,
  type VerifiedPicture,
  verifyScores,
} from "./library/verify-image-reward.js";
export type { Interval } from "./util/statistics.js";

// Runs on disk and their pages.
export {
  compareRuns,
  finishRun,
  type FinishedRun,
  type FinishRunOptions,
  type NewRunRequest,
  repeatRun,
  type RunComparison,
  startRun,
} from "./library/runs.js";
export type { StoreOptions } from "./pipeline/candidate-store.js";
export { openRun, readRun, Run, type RunSnapshot } from "./pipeline/run-store.js";
export { readPlan, readSearch } from "./pipeline/search-trace.js";
export type { RunProgress } from "./pipeline/generate-run.js";
export { type RankedCandidate, rankedCandidates } from "./pipeline/ranked.js";
export type { CandidateLine, CandidateRecord, SourceRecord } from "./pipeline/candidate-record.js";
export type {
  FileRecord,
  InputRecord,
  InputRecords,
  MemberRecord,
  ModelRecord,
  ModelRecords,
  RunConfig,
  RunManifest,
  RunRequest,
  RunStatus,
  RunTimings,
} from "./pipeline/manifest.js";
export type { RunInputs } from "./pipeline/inputs.js";
export { digestModel, type DigestOptions } from "./pipeline/digest.js";
export { infotext } from "./pipeline/infotext.js";
export { writeReport } from "./report/report.js";

// Rewards: scores and their gradients.
export {
  type DifferentiableReward,
  inputName,
  type Reward,
  type RewardGradient,
  type RewardNetwork,
  type RewardOptions,
  type RewardResult,
  type ScoreReference,
  type TextFeeds,
} from "./rewards/contract.js";
export { type ImageSize, preprocessImage } from "./rewards/preprocess-graph.js";
export { ImageReward, type ImageRewardOptions, openImageReward, type ScoringDType } from "./rewards/image-reward.js";
export { type Int8Agreement, int8Agreement } from "./library/int8-agreement.js";
export { ClipScore, type ClipScoreOptions, openClipScore } from "./rewards/clip-score.js";
export { Aesthetic, type AestheticOptions, openAesthetic } from "./rewards/aesthetic.js";
export { type BlipScoreOptions, openBlipScore } from "./rewards/blip-score.js";
export { DualEncoder } from "./rewards/dual-encoder.js";
export type { DualNetwork } from "./rewards/dual-network.js";
export {
  DifferentiableEnsemble,
  Ensemble,
  type EnsembleMember,
  type NamedMember,
  openEnsemble,
} from "./rewards/ensemble.js";
export { WatchedReward } from "./rewards/held-out.js";
export { type HpsOptions, openHps } from "./rewards/hps.js";
export { openPickScore, type PickScoreOptions } from "./rewards/pickscore.js";
export type { BlipTextConfig, BlipVisionConfig } from "./models/blip-config.js";
export type { ImageRewardConfig } from "./models/image-reward-config.js";
export type { LinearHead } from "./models/linear-head.js";
export type { ClipConfig, ClipVisionConfig } from "./models/clip.js";
export type { ClipTextConfig } from "./models/clip-text.js";
export {
  type LoadedGradient,
  LoadedReward,
  type LoadedScores,
  loadReward,
  type LoadRewardOptions,
} from "./export/reward/load-reward.js";
export {
  type ExportedReward,
  exportReward,
  type ExportRewardOptions,
  type RewardPart,
} from "./library/export-reward.js";
export type { PictureKind } from "./export/reward/graphs.js";
export type { RewardManifest } from "./export/reward/manifest.js";
export type { ExportStage } from "./export/reward/write-bundle.js";
export type { BytePairDescription, TokenizerDescription, WordPieceDescription } from "./tokenizers/description.js";
export type { BasicTextOptions } from "./tokenizers/basic-text.js";
export type { DescribedTokenizer, Encoding, Tokenizer } from "./tokenizers/types.js";
export { embedderOf, embedPictures, type ImageEmbedder, isImageEmbedder } from "./rewards/image-embedder.js";
export { inferenceRank } from "./rewards/rank.js";
export type { ModelIdentity } from "./weights/identity.js";

// Prompts: what their syntax says.
export { type Fragment, parseAttention, promptMeaning, type PromptSyntax } from "./prompts/attention-syntax.js";

// Backends: sources of images.
export {
  type BackendCapabilities,
  type GeneratedGroup,
  type GeneratedImage,
  type GenerateOptions as BackendOptions,
  type GenerationProgress,
  type ImageBackend,
  type StepwiseModel,
  type ImageRequest,
  type ImageSettings,
  MAX_CANDIDATES,
  MAX_SEED,
} from "./backends/contract.js";
export { createLocalBackend } from "./backends/local.js";
export { checkRequest, type OpenRequest, resolveRequest } from "./backends/resolve.js";

// Servers as backends, and pipelines: what `laurel run` does.
export type { BackendConfig, BackendKind } from "./backends/config.js";
export { loadBackendConfig } from "./backends/load-config.js";
export { type OpenContext, openConfigured } from "./backends/open.js";
export {
  estimatePipeline,
  finishPipeline,
  type FinishPipelineOptions,
  type PipelineEstimate,
  repeatPipeline,
  startPipeline,
} from "./library/pipelines.js";
export { loadPipeline } from "./pipeline/document/load.js";
export type { OpenSettings, PipelinePlan, PlanFile, PlanItem, PlanReward, PlanStep } from "./pipeline/document/plan.js";
export type { PipelineDocument } from "./pipeline/document/schema.js";
export type { MadeFrom } from "./pipeline/candidate-record.js";
export type { ItemLine, PipelineManifest, PlacedCandidate } from "./pipeline/execute/manifest.js";
export { openPipelineRun, PipelineRun } from "./pipeline/execute/pipeline-run.js";
export type { RecordedCandidate } from "./pipeline/execute/recover.js";
export type { PipelineProgress, RunPipelineOptions } from "./pipeline/execute/run-pipeline.js";

// Strategies: ways to spend a budget of candidates.
export { bestOfN } from "./strategies/best-of-n.js";
export type {
  Budget,
  Candidate,
  Finished,
  Lineage,
  Parting,
  Refinement,
  Scored,
  ScoreDetails,
  SearchEvent,
  SearchPlan,
  StopReason,
  Strategy,
  StrategyContext,
  StrategyEvent,
} from "./strategies/contract.js";
export { diverseBest, type DiverseOptions } from "./strategies/diverse.js";
export { img2imgLoop, type Img2ImgLoopOptions } from "./strategies/img2img-loop.js";
export { type OpenedStrategy, openStrategy, type StrategyPlace } from "./library/open-strategy.js";
export { type Limits, parseBudget } from "./strategies/budget.js";
export { STRATEGY_NAMES, type StrategyName, type StrategyNeeds, strategyNeeds } from "./strategies/names.js";
export { parseStrategy, printStrategy, type StrategySettings } from "./strategies/settings.js";
export { rank } from "./strategies/rank.js";
export { Calibration, type PreviewFidelity } from "./strategies/search/calibration.js";
export { halving, type HalvingOptions, type HalvingReport, previewGrid } from "./strategies/search/halving.js";
export type { Cut } from "./strategies/search/halving-plan.js";
export { neighbours, type NeighbourOptions } from "./strategies/search/neighbours.js";
export { noiseGradient, type NoiseGradientOptions } from "./strategies/search/noise-gradient.js";
export { type ParticleOptions, particles, type Potential } from "./strategies/search/particles.js";
export { plainPicture, type WorkCosts, WorkMeter } from "./strategies/search/work-meter.js";
export {
  type ComparedArm,
  type ComparedDifference,
  type ComparedMetric,
  compareStrategies,
  type MetricDescription,
  type StrategyComparison,
  type StrategyTrial,
} from "./evaluation/strategy-comparison.js";
export { verdictOf } from "./evaluation/strategy-verdict.js";
export {
  type ComparedStrategy,
  COMPARISON_FILES,
  type MeasuredTrial,
  measureStrategies,
  type SamplingSettings,
  type StrategyMeasurement,
} from "./library/compare-strategies.js";
export { parseCompared } from "./library/compared-strategies.js";
export { type WrittenComparison, writeComparison } from "./library/comparison-files.js";

// Stable Diffusion, step by step.
export {
  type DiffusionModelOptions,
  type DrawingOperations,
  openStableDiffusion,
  StableDiffusion,
} from "./diffusion/stable-diffusion.js";
export type { ModelFolderOptions } from "./diffusion/model-folder.js";
export type { ComputeType } from "./diffusion/compute-type.js";
export { forkState, type LatentState } from "./diffusion/latents.js";
export type { EncodedInit, Posterior, Repaint } from "./diffusion/init-encoder.js";
export type { InitLatents } from "./diffusion/init-state.js";
export type {
  DiffusionDefaults,
  DiffusionRequest,
  LoraRequest,
  ResolvedRequest,
  SettingLimits,
  SizeRule,
} from "./diffusion/request.js";
export type {
  DiffusionGroup,
  DiffusionImage,
  DiffusionOptions,
  DiffusionProgress,
  Trajectory,
} from "./diffusion/trajectory.js";
export type { NetworkLora, RequestLoras, ScaledLora } from "./diffusion/lora.js";
export type { LinearForm, NoisingWeights, Sampler, StepCoefficients } from "./samplers/contract.js";
export type { StepCotangents } from "./samplers/pull-back.js";
export type { TakenStep } from "./diffusion/pull-back.js";
export type { PictureJudge, ScoreGradient } from "./diffusion/score-gradient.js";
export { SAMPLER_NAMES, type SamplerMethod, type SamplerName } from "./samplers/names.js";

// Images.
export { contactSheet, type ContactSheetOptions } from "./image/contact-sheet.js";
export { toRgb } from "./image/convert.js";
export { decodeImage, decodeRgb } from "./image/decode.js";
export { encodePng, type PngText, readPngText } from "./image/png.js";
export {
  CLIP_MEAN,
  CLIP_PREPROCESSING,
  CLIP_STD,
  HPS_PREPROCESSING,
  preprocess,
  preprocessClip,
  type Preprocessing,
  TRANSFORMERS_PREPROCESSING,
} from "./image/preprocess.js";
export { resizeBicubic, resizeNearest } from "./image/resize.js";
export {
  type ChannelImage,
  type Grey16Image,
  MAX_PIXELS,
  type PaletteImage,
  type RgbImage,
  type SourceImage,
} from "./image/types.js";

// Tensors on the host, and torch's CPU random stream.
export type { DType, TypedArrayOf } from "./tensor/dtype.js";
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "./tensor/half.js";
export { type GeneratorState, TorchGenerator } from "./tensor/random.js";
export { elementCount, float32, int64, type Tensor, tensor, zeros } from "./tensor/tensor.js";

// Networks: graphs over ONNX ops (`ops.matMul(a, b)`), their gradients, programs made of them.
export * as ops from "./graph/builder.js";
export type { AttributeValue } from "./graph/op-attributes.js";
export type { Attributes, Dim, Graph, Node, OpType, Shape, Value, ValueSource, ValueType } from "./graph/types.js";
export { verify } from "./graph/verify.js";
export { gradient, type Seed } from "./autodiff/gradient.js";
export { encodeModel, type EncodeOptions } from "./onnx/encode.js";
export { type Adapter, type NetworkMode, rootScope, type RootScopeOptions, type Scope } from "./nn/scope.js";
export type { CompileOptions, ModelPorts } from "./runtime/device.js";
export type { Port, Program, RunOptions } from "./runtime/program.js";

// Datasets out of runs, and what training reads.
export {
  type ExportedDataset,
  exportImages,
  type ExportOptions,
  exportPreferences,
} from "./library/export-datasets.js";
export type { ImageFormat, PreferenceFormat } from "./export/datasets/formats.js";
export type { ImageOptions, PairOptions } from "./export/datasets/pairs.js";
export type { WriteOptions, WrittenDataset } from "./export/datasets/rows.js";
export type { ImageSet, PreferencePair, PreferencePairs, PromptedImage, Samples } from "./training/data/contract.js";
export { readImageSet } from "./training/data/image-set.js";
export { readPreferencePairs } from "./training/data/preference-pairs.js";
export { readTrainingPrompts, type TrainingPrompt, weightedPrompts } from "./training/data/prompts.js";

// Checkpoints, used in place.
export { openSafetensorsIndex, openWeights } from "./weights/open.js";
export { type ExpectedParameter, resolveWeights, type ResolveOptions } from "./weights/resolve.js";
export { type DeferredTensor, openSafetensors, saveSafetensors, type TensorSource } from "./weights/safetensors.js";
export {
  convertLora,
  type ConvertLoraOptions,
  inspectLora,
  type LoraFacts,
  type LoraLayerFacts,
  mergeLora,
} from "./library/lora.js";
export { openLora } from "./weights/lora/open.js";
export { type ReplacedWeights, saveDiffusersFolder, type SaveFolderOptions } from "./weights/diffusers-folder.js";
export { type LoraUpdate, type LoraUpdates, saveLora, type SaveLoraOptions } from "./weights/lora/save.js";
export type { LoraComponent, LoraFile, LoraLayer, LoraLayers, LoraNaming } from "./weights/lora/types.js";
export { openTorchCheckpoint } from "./weights/torch-checkpoint.js";
export type { WeightEntry, WeightRef, WeightSource } from "./weights/types.js";

// Fine-tuning: by reward, by preference, on pictures.
export {
  type ResumeTrainingOptions,
  resumeTraining,
  type RewardOutcome,
  trainModel,
  type TrainingOutcome,
  type TrainingStart,
  type TrainModelEvents,
  type TrainModelOptions,
  type TrainModelResult,
} from "./library/train.js";
export { readTrainSettings, type SettingChanges, type SettingsOptions } from "./library/train-settings.js";
export type { TrainRunManifest } from "./library/train-run.js";
export {
  finetune,
  type FinetuneEvents,
  type FinetuneOptions,
  type FinetuneResult,
} from "./training/finetune/finetune.js";
export type { GuardAlarm, GuardVerdict, KeptCheckpoint, RewardChange } from "./training/finetune/guards.js";
export type { TrainingData } from "./training/finetune/losses.js";
export type { UpdateRecord, ValidationRecord } from "./training/finetune/records.js";
export type { GuideReward } from "./training/finetune/reward-objective.js";
export { type FinetuneMethod, type FinetuneSettings, readFinetuneSettings } from "./training/finetune/settings.js";
export { openTunedModel, type TunedModel } from "./training/finetune/tuned-model.js";
export type { MemoryMode } from "./training/gradient-program.js";

// Training.
export { type Recipe, train, type TrainingResult, type TrainOptions } from "./training/loop.js";
export type { StatusStream } from "./training/progress.js";
export type { Schedule } from "./training/schedule.js";
export {
  createTrainer,
  type Objective,
  type OptimizerSettings,
  type Trainer,
  type UpdateResult,
} from "./training/trainer.js";

// The demo world: its language, and the truth about its pictures.
export { type Description, parseDescription, printDescription, type ShapeDescription } from "./demo/grammar.js";
export { type Fact, judge, type Judgement, type ReadablePicture } from "./demo/oracle.js";

// Storages: objects that several machines see.
export {
  type ListOptions,
  type Storage,
  StorageError,
  type StorageFault,
  type StorageOptions,
  type StoredObject,
} from "./storage/contract.js";
export { openStorage, type OpenStorageOptions } from "./storage/open.js";
export { patient as patientStorage, type PatienceOptions } from "./storage/patient.js";

// Many machines: a backend and a reward whose work is done by workers of a queue, and such a worker.
export { type DispatchOptions } from "./cluster/dispatch.js";
export { type ExpectedModel, type StoredPicture, type TravellingChoice } from "./cluster/protocol.js";
export { type DescribedBackend, QueueBackend } from "./cluster/queue-backend.js";
export { type DescribedReward, QueueReward } from "./cluster/queue-reward.js";
export { openWorkers, type QueuedModels, type SubmitterOptions } from "./cluster/submit.js";
export { startWorker, type WorkerMeans, type WorkerOptions } from "./cluster/worker.js";

// Job queues: small pieces of work that any worker of any machine may take.
export {
  type JobFailure,
  JobError,
  JobFailedError,
  type JobHandler,
  type JobQueue,
  type JobRequest,
  type JobStatus,
  type Json,
  QueueError,
  type QueueWorker,
  type SubmitOptions,
  type TakenJob,
  type WorkOptions,
} from "./queue/contract.js";
export { openMemoryQueue } from "./queue/memory.js";
export { openQueue, type OpenQueueOptions } from "./queue/open.js";
export { WorkerModels, type WorkerOpeners } from "./library/worker-models.js";

// Errors, each with the exit code of the command line.
export { BackendError, CancelledError, EXIT, InternalError, LaurelError, ModelError, UsageError } from "./errors.js";
