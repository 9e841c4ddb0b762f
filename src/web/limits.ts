/** @file What one request to a server of scores may take. */

/** What one request may take. */
export interface ServeLimits {
  /** Bytes of a body. */
  readonly maxBodyBytes: number;
  /** Pixels of a picture; at most MAX_PIXELS. */
  readonly maxPixels: number;
  /** Pictures of a request. */
  readonly maxImages: number;
  /** Requests that are read or wait while another is scored; further ones are sent away. */
  readonly maxWaiting: number;
  /** Seconds in which a request has to arrive. */
  readonly receiveSeconds: number;
}

/** The limits where none are given. 16.8 million pixels are a picture of 4096 x 4096. */
export const SERVE_LIMITS: ServeLimits = {
  maxBodyBytes: 64 << 20,
  maxPixels: 1 << 24,
  maxImages: 64,
  maxWaiting: 16,
  receiveSeconds: 60,
};
