/** The id of a conversation, made of its command: an engine that takes one refuses a second start under it. */
import { createHash } from 'node:crypto'

/** Of this project alone (RFC 9562, version 5). */
const NAMESPACE = Buffer.from('5f0e6c1a9b3d4e7fa1c28d64b7e95031', 'hex')

export function sessionIdOf(commandId: string): string {
  const bytes = createHash('sha1').update(NAMESPACE).update(commandId).digest().subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
