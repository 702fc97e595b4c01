/**
 * The protocol spoken between agent and control server, as one integer.
 *
 * - 1 (November 2026): register, sync, wait, heartbeat; types DELAY and HTTP_GET_JSON.
 *
 * Each side names the range it speaks; the server chooses the highest common number at register
 * and answers 426 `PROTOCOL_UNSUPPORTED` where there is none. Unknown fields in answers are ignored.
 */
export const PROTOCOL = { min: 1, max: 1 } as const
