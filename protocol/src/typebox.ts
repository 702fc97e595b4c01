/**
 * The one door to typebox, which comes in 700 files: to load them is most of what the start of a process costs. The build
 * puts one file in the place of this one (`scripts/bundle-typebox.mjs`); without it everything works the same.
 */
export * from 'typebox'
export { Compile } from 'typebox/compile'
