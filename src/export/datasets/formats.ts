/** @file Names of the formats of datasets. */

/** Formats of pairs; `pickapic` is a parquet file. */
export const PREFERENCE_FORMATS = ["pickapic", "imagefolder", "jsonl", "webdataset"] as const;
/** Formats of pictures. */
export const IMAGE_FORMATS = ["imagefolder", "jsonl", "webdataset"] as const;
/** A format of pairs. */
export type PreferenceFormat = (typeof PREFERENCE_FORMATS)[number];
/** A format of pictures. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];
