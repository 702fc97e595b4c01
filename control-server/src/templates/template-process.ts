/**
 * The process in which templates are read and rendered and patterns are tested: whatever they do to it, the server only
 * loses this process. It has no environment, and everything that comes in and goes out is JSON.
 */
import { Script } from 'node:vm'
import { Template } from '@huggingface/jinja'
import type { Answer, Question } from './renderer.ts'
import { templateNames } from './template-names.ts'

const MESSAGE_CHARACTERS_MAX = 300

const answerTo = (question: Question): Answer => {
  switch (question.ask) {
    case 'names':
      return { ok: true, value: question.texts.map(templateNames) }
    case 'matches':
      return {
        ok: true,
        value: question.checks.map(({ pattern, text }) => new RegExp(`^(?:${pattern})$`, 'u').test(text)),
      }
    case 'render': {
      let charactersLeft = question.charactersMax
      const texts: string[] = []
      for (const text of question.texts) {
        const rendered = new Template(text).render({ ...question.values })
        charactersLeft -= rendered.length
        if (charactersLeft < 0)
          return { ok: false, limit: true, message: `makes more than ${question.charactersMax} characters of text` }
        texts.push(rendered)
      }
      return { ok: true, value: texts }
    }
  }
}

/** Node's own limit on the time of a script counts for whatever it calls. */
const asked = new Script('answerToTheQuestion()')

const answerInTime = (question: Question): Answer => {
  Object.assign(globalThis, { answerToTheQuestion: () => answerTo(question) })
  try {
    return asked.runInThisContext({ timeout: question.timeMs }) as Answer
  } catch (error) {
    if (error instanceof RangeError) return { ok: false, limit: true, message: 'is nested too deep, or makes too much' }
    const isLate = error instanceof Error && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
    if (isLate) return { ok: false, limit: true, message: `takes longer than ${question.timeMs} ms` }
    const text = error instanceof Error ? error.message : String(error)
    return { ok: false, limit: false, message: text.slice(0, MESSAGE_CHARACTERS_MAX) }
  }
}

process.on('message', (question: Question) => process.send?.(answerInTime(question)))
// The server was killed: a question that is under way ends by its own limit.
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
