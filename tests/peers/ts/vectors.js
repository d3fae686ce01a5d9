// Operations on single vectors of 0xF002, in one request each.

export const nothing = async () => ({})
