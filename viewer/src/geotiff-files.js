export class StaticFiles {}
