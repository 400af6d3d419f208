package protocol

// Lookalikes is the table.
const Lookalikes = lookalikes
