/** A content as a download: whole or a part of it, and nothing that a browser would do anything with but store it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Blobs } from '../blobs/blobs.ts'
import { ApiError } from './errors.ts'

const SAFE_HEADERS = {
  'content-security-policy': "default-src 'none'; sandbox",
  'cross-origin-resource-policy': 'same-origin',
  'accept-ranges': 'bytes',
  // It may be read again as long as it is there.
  'cache-control': 'private, no-cache',
}

type Content = { sha256: string; bytes: number; name: string }

/** Throws `gone` where the file of the content is not there. */
export async function sendContent(
  request: FastifyRequest,
  reply: FastifyReply,
  blobs: Blobs,
  { sha256, bytes, name }: Content,
  gone: () => ApiError,
): Promise<FastifyReply> {
  const etag = `"${sha256}"`
  reply.headers(SAFE_HEADERS).header('etag', etag)
  if (request.headers['if-none-match'] === etag) return reply.status(304).send()
  const asked = request.headers['if-range'] ?? etag
  const part = asked === etag ? partOf(request.headers.range, bytes) : null
  if (part === 'none')
    throw new ApiError('RANGE_NOT_SATISFIABLE', undefined, { headers: { 'content-range': `bytes */${bytes}` } })
  const { first, last } = part ?? { first: 0, last: bytes - 1 }
  const content = request.method === 'HEAD' ? undefined : await blobs.read(sha256, { first, last })
  if (content === null) throw gone()
  if (part !== null) reply.status(206).header('content-range', `bytes ${first}-${last}/${bytes}`)
  return reply
    .header('content-disposition', dispositionOf(name))
    .header('content-length', String(last - first + 1))
    .type('application/octet-stream')
    .send(content)
}

/** One range of bytes; null where the whole is meant, as for whatever is not understood (RFC 9110, 14.2). */
export function partOf(header: string | undefined, bytes: number): { first: number; last: number } | 'none' | null {
  const [, from = '', to = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (from === '' && to === '') return null
  const first = from === '' ? Math.max(0, bytes - Number(to)) : Number(from)
  const last = from === '' || to === '' ? bytes - 1 : Math.min(Number(to), bytes - 1)
  if (from !== '' && to !== '' && Number(to) < Number(from)) return null
  return first > last ? 'none' : { first, last }
}

/** Of the last part of the name: first for old clients, then as it is (RFC 6266). */
export function dispositionOf(name: string): string {
  const file = name.slice(name.lastIndexOf('/') + 1)
  const plain = file.replace(/[^A-Za-z0-9 ._-]/g, '_')
  const exact = encodeURIComponent(file).replace(
    /['()*]/g,
    (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `attachment; filename="${plain}"; filename*=UTF-8''${exact}`
}
