/** Calls and answers in words, for the story of a failure. */
import type { Call } from './machine.ts'

export const textOf = (call: Call): string => {
  if (call.kind === 'heartbeat') return `renews as ${call.request.incarnation}`
  if (call.kind === 'register') {
    const { previousIncarnation, logSeq } = call.sent.request
    return `registers after ${previousIncarnation}, logSeq ${logSeq}`
  }
  const { incarnation, seq, mode, held } = call.sent.request
  const items = held.map(
    ({ attemptId, phase, outcome }) => `${attemptId} ${phase}${outcome ? ` ${outcome.state}` : ''}`,
  )
  return `syncs as ${incarnation}, ${seq}, ${mode}: ${items.join(', ') || 'nothing'}`
}

export const textOfAnswer = (response: object): string =>
  Object.entries(response)
    .filter(
      ([key, value]) =>
        !['epoch', 'leaseMs', 'nextSyncMs', 'syncMs', 'protocol', 'seq'].includes(key) && value !== false,
    )
    .filter(([, value]) => !Array.isArray(value) || value.length > 0)
    .map(([key, value]) => {
      if (!Array.isArray(value)) return `${key} ${value}`
      return `${key} ${value.map((item) => (typeof item === 'string' ? item : [item.attemptId, item.verdict].join(' ').trim())).join(', ')}`
    })
    .join('; ')
