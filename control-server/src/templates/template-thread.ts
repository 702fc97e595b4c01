/**
 * The thread in which templates are read and rendered and patterns are tested: whatever they do to it, the server only
 * loses this thread. It has no environment, and everything that comes in and goes out is a text or plain data.
 */
import { parentPort } from 'node:worker_threads'
import { Template } from '@huggingface/jinja'
import type { ThreadAnswer, ThreadQuestion } from './renderer.ts'
import { templateNames } from './template-names.ts'

const MESSAGE_CHARACTERS_MAX = 300

const answerTo = (question: ThreadQuestion): ThreadAnswer => {
  try {
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
          const rendered = new Template(text).render(JSON.parse(question.values))
          charactersLeft -= rendered.length
          if (charactersLeft < 0)
            return { ok: false, limit: true, message: `makes more than ${question.charactersMax} characters of text` }
          texts.push(rendered)
        }
        return { ok: true, value: texts }
      }
    }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const isTooDeep = error instanceof RangeError
    return {
      ok: false,
      limit: isTooDeep,
      message: isTooDeep ? 'is nested too deep' : text.slice(0, MESSAGE_CHARACTERS_MAX),
    }
  }
}

parentPort?.on('message', (question: ThreadQuestion) => parentPort?.postMessage(answerTo(question)))
parentPort?.postMessage('ready')
