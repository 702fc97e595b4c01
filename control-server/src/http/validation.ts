/** How requests are validated: bodies as they are, text (query, path, headers) with its numbers read as numbers. */
import type { FastifyInstance } from 'fastify'
import { createValidator } from '../validation/validator.ts'

export function installValidation(app: FastifyInstance): void {
  // Fastify's own defaults turn "5" into 5 in bodies.
  const exact = createValidator({ coerceTypes: false })
  const text = createValidator({ coerceTypes: true })
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? exact : text).compile(schema as object))
}
