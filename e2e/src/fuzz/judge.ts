/** Whether an answer is one that the server may give to anybody, whatever was asked. */
import { API_ERRORS, type ApiErrorBody, type ApiErrorCode } from '@agent-executor/protocol'
import type { Answer } from './wire.ts'

const SECRETS =
  /node_modules|\.[jt]s:\d|\n {4}at |SQLITE_|SqliteError|\bCHECK constraint|\bSELECT \*|\/dist\/src\/|commands\.db/
const KEYS = ['code', 'committed', 'details', 'error', 'message', 'requestId', 'statusCode']
const BODY_CHARACTERS_MAX = 20_000

/** What is wrong with it; null where nothing is. */
export function faultOf({ status, head, body }: Answer): string | null {
  if (status === 0) return `not an HTTP answer: ${head.slice(0, 100)}`
  if (status >= 500) return `answered ${status}: ${body.slice(0, 300)}`
  if (status < 400) return null
  // A HEAD is answered without the body that its length announces.
  if (body === '' && /\r\ncontent-length: *[1-9]/i.test(head)) return null
  if (!/\r\ncontent-type: application\/json/i.test(head)) return `${status} is not JSON: ${head.slice(0, 200)}`
  let error: ApiErrorBody
  try {
    error = JSON.parse(body) as ApiErrorBody
  } catch {
    return `${status} does not parse: ${body.slice(0, 200)}`
  }
  const known = API_ERRORS[error.code as ApiErrorCode] as readonly [number, string] | undefined
  if (known === undefined) return `${status} has the unknown code ${error.code}`
  if (known[0] !== status || error.statusCode !== status) return `${error.code} came with ${status}`
  const odd = Object.keys(error).filter((key) => !KEYS.includes(key))
  if (odd.length > 0 || typeof error.message !== 'string' || typeof error.requestId !== 'string')
    return `${status} is not in the one shape: ${body.slice(0, 300)}`
  if (SECRETS.test(body)) return `${status} says too much: ${body.slice(0, 500)}`
  return body.length > BODY_CHARACTERS_MAX ? `${status} repeats what was sent: ${body.length} characters` : null
}
