/** The part of BTF that describes our structs, as `bpftool -j btf dump ... format raw` prints it. */

export interface BtfMember {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
}

export interface BtfType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly members?: readonly BtfMember[];
  readonly values?: readonly { readonly name: string; readonly val: number }[];
}

/** A field of a struct as the codecs need it. */
export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
  readonly kind: 'uint' | 'bytes' | 'uints';
  /** Width of one element: 1, 2, 4 or 8. */
  readonly width: number;
  readonly bigEndian: boolean;
  readonly hidden: boolean;
}

export interface Struct {
  readonly name: string;
  readonly bytes: number;
  readonly fields: readonly Field[];
}

const INTEGER_NAME = /^__(u|s|be)(8|16|32|64)$/;

/** Reads the structs named `names`; throws when one is missing, has a hole or an unknown type. */
export function structsOf(types: readonly BtfType[], names: readonly string[]): Struct[] {
  const byId = new Map(types.map((type) => [type.id, type]));
  return names.map((name) => {
    const type = types.find((each) => each.kind === 'STRUCT' && each.name === name);
    if (type === undefined) throw new Error(`no struct ${name} in the BTF`);
    const fields = (type.members ?? []).flatMap((member) => fieldsOf(byId, name, member));
    const bytes = type.size ?? 0;
    rejectGaps(name, bytes, fields);
    return { name, bytes, fields };
  });
}

function typeOf(byId: ReadonlyMap<number, BtfType>, id: number): BtfType {
  const type = byId.get(id);
  if (type === undefined) throw new Error(`no BTF type ${id}`);
  return type;
}

/** A struct inside a struct gives its own fields, with the outer name before theirs. */
function fieldsOf(byId: ReadonlyMap<number, BtfType>, struct: string, member: BtfMember): Field[] {
  const type = typeOf(byId, member.type_id);
  if (type.kind !== 'STRUCT' || type.name === 'ip_address') return [fieldOf(byId, struct, member)];
  return (type.members ?? []).flatMap((inner) => {
    const name = `${member.name}_${inner.name}`;
    const bits_offset = member.bits_offset + inner.bits_offset;
    const hidden = inner.name.startsWith('reserved');
    return fieldsOf(byId, struct, { ...inner, name, bits_offset }).map((field) => ({
      ...field,
      hidden: field.hidden || hidden,
    }));
  });
}

function fieldOf(byId: ReadonlyMap<number, BtfType>, struct: string, member: BtfMember): Field {
  const where = `${struct}.${member.name}`;
  const type = typeOf(byId, member.type_id);
  const common = {
    name: camelCase(member.name.replace(/_be$/, '')),
    offset: member.bits_offset / 8,
    bigEndian: member.name.endsWith('_be'),
    hidden: member.name.startsWith('reserved'),
  };
  if (type.kind === 'STRUCT' && type.name === 'ip_address') {
    return { ...common, bytes: 16, kind: 'bytes', width: 1 };
  }
  if (type.kind === 'ARRAY') {
    const width = integerWidth(typeOf(byId, type.type_id ?? 0), where);
    const bytes = width * (type.nr_elems ?? 0);
    return { ...common, bytes, kind: width === 1 ? 'bytes' : 'uints', width };
  }
  const width = integerWidth(type, where);
  return { ...common, bytes: width, kind: 'uint', width };
}

function integerWidth(type: BtfType, where: string): number {
  const match = INTEGER_NAME.exec(type.name);
  if (match === null) throw new Error(`${where}: only fixed-width integers cross the boundary`);
  if (match[1] === 'be' && !where.endsWith('_be')) {
    throw new Error(`${where}: a big-endian field must end in _be`);
  }
  return Number(match[2]) / 8;
}

/** A hole would be sent to the kernel as whatever the memory held, and make keys differ. */
function rejectGaps(name: string, bytes: number, fields: readonly Field[]): void {
  let end = 0;
  for (const field of fields) {
    if (field.offset !== end) throw new Error(`${name}: hole before ${field.name}`);
    end = field.offset + field.bytes;
  }
  if (end !== bytes) throw new Error(`${name}: hole at the end`);
}

export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

export function pascalCase(name: string): string {
  const camel = camelCase(name);
  return camel.charAt(0).toUpperCase() + camel.slice(1);
}
