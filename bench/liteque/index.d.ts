export * from 'liteque'
